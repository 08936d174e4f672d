#include <doctest/doctest.h>

#include "tensor/untrusted_json.h"
#include "tests/support.h"

using namespace qhv;
using nlohmann::json;

namespace {

std::string error_of_text(const std::string& text) {
  return test::error_of([&] { parse_untrusted_json(text, "f", "the list", 3); });
}

template <typename Int>
std::string error_of_number(const char* text) {
  return test::error_of([&] { whole_number<Int>(json::parse(text), "f: layer", "axis"); });
}

}  // namespace

TEST_CASE("untrusted JSON: levels are bounded, errors say where and repeat nothing") {
  CHECK(error_of_text("[{\"a\":[1]}]") == "no error");
  CHECK(error_of_text("[[[[]]]]") == "runtime_error: f: the list is nested too deeply");
  CHECK(error_of_text("[{\"a\":[{}]}]") == "runtime_error: f: the list is nested too deeply");
  CHECK(error_of_text(std::string(1'000'000, '[')) == "runtime_error: f: the list is nested too deeply");
  CHECK(error_of_text("[1, " + std::string(10'000, 'x')) ==
        "runtime_error: f: the list is not valid JSON (at byte 5 of 10004)");
  CHECK(error_of_text("[1e999]") ==
        "runtime_error: f: the list is not valid JSON (a number is out of range)");
}

TEST_CASE("untrusted JSON: whole numbers are not rounded, cut or taken from other types") {
  CHECK(whole_number<std::int32_t>(json(-7), "f", "axis") == -7);
  CHECK(whole_number<std::int32_t>(json(2147483647), "f", "axis") == 2147483647);
  CHECK(whole_number<std::uint64_t>(json::parse("18446744073709551615"), "f", "seed") == ~std::uint64_t{0});
  CHECK(error_of_number<std::int32_t>("2147483648") ==
        "runtime_error: f: layer: axis is no whole number from -2147483648 to 2147483647");
  for (const char* wrong :
       {"1.5", "1.0", "1e300", "true", "null", "\"1\"", "[1]", "-2147483649", "18446744073709551615"})
    CHECK(
        error_of_number<std::int32_t>(wrong).starts_with("runtime_error: f: layer: axis is no whole number"));
  CHECK(error_of_number<std::uint64_t>("-1").starts_with("runtime_error: f: layer: axis"));
  CHECK(whole_numbers<int>(json{1, 2}, "f", "zero_point") == std::vector<int>{1, 2});
  CHECK(test::error_of([] { whole_numbers<int>(json(1), "f", "zero_point"); }) ==
        "runtime_error: f: zero_point is not a list");
}
