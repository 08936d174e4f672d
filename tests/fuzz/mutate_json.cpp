#include "tests/fuzz/mutate_json.h"

#include <cmath>

namespace qhv::test {
namespace {

using nlohmann::json;

const std::vector<json>& limits() {
  static const std::vector<json> values{0,
                                        1,
                                        -1,
                                        2,
                                        127,
                                        128,
                                        255,
                                        256,
                                        -127,
                                        -128,
                                        32767,
                                        -32768,
                                        65535,
                                        65536,
                                        1 << 20,
                                        2147483647,
                                        -2147483648LL,
                                        4294967296LL,
                                        1e-45,
                                        1e-38,
                                        1e-30,
                                        1e-10,
                                        0.5,
                                        1e10,
                                        1e30,
                                        3.4e38,
                                        1e300,
                                        INT64_MAX,
                                        nullptr,
                                        true,
                                        "",
                                        "x",
                                        "float",
                                        "uniform",
                                        "twin",
                                        "log",
                                        json::array(),
                                        json::object(),
                                        "I8",
                                        "U8",
                                        "I16",
                                        "I32",
                                        "F16",
                                        "F32"};
  return values;
}

json near(const json& number, Random& random) {
  const double factor = std::ldexp(1.0, int(draw(random, 41)) - 20);
  if (!number.is_number_integer()) return number.get<double>() * factor;
  const auto step = std::int64_t(draw(random, 5)) - 2;
  const auto value = number.get<std::int64_t>();
  return draw(random, 2) ? json(std::int64_t(std::uint64_t(value) + std::uint64_t(step)))
                         : json(double(value) * factor);
}

}  // namespace

std::size_t draw(Random& random, std::size_t count) {
  return std::uniform_int_distribution<std::size_t>(0, count - 1)(random);
}

json::json_pointer random_place(const json& root, Random& random) {
  json::json_pointer place;
  const json* at = &root;
  while (at->is_structured() && !at->empty() && draw(random, 10)) {
    const auto entry = std::next(at->items().begin(), std::ptrdiff_t(draw(random, at->size())));
    place = at->is_array() ? place / std::stoul(entry.key()) : place / entry.key();
    at = &entry.value();
  }
  return place;
}

json hostile_value(const json& root, const json& current, Random& random) {
  const std::size_t kind = draw(random, 4);
  if (kind == 0 && current.is_number()) return near(current, random);
  if (kind == 1) return root.at(random_place(root, random));
  return limits()[draw(random, limits().size())];
}

void mutate_json(json& root, Random& random) {
  const json::json_pointer place = random_place(root, random);
  if (place.empty()) return;
  json& parent = root.at(place.parent_pointer());
  const std::size_t kind = draw(random, 8);
  if (kind > 1) {
    json& value = root.at(place);
    value = hostile_value(root, value, random);
  } else if (!parent.is_array()) {
    parent.erase(place.back());
  } else if (kind == 0) {
    parent.erase(std::stoul(place.back()));
  } else {
    parent.push_back(json(root.at(place)));
  }
}

}  // namespace qhv::test
