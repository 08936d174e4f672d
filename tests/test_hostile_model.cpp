// The corpus of the fuzzers (tests/fuzz), by the same functions. What the fuzzers found is in it under a name
// that says what it does.
#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>

#include "tensor/file.h"
#include "tests/hostile_model.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

/// Files that begin with "sound" run, all others are refused; `attempt` throws if they are not as they
/// should.
template <typename Attempt>
void check_corpus(const std::string& name, Attempt attempt) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(concat(QHV_SOURCE_DIR, "/tests/fuzz/corpus/", name))) {
    CAPTURE(entry.path());
    const std::vector<std::byte> bytes = read_file(entry.path());
    std::string error;
    REQUIRE_NOTHROW(error = attempt(bytes));
    CAPTURE(error);
    CHECK(error.empty() == entry.path().filename().string().starts_with("sound"));
    CHECK(!error.starts_with("no patch"));
    ++files;
  }
  CHECK(files >= 20);
}

}  // namespace

TEST_CASE("hostile plans are refused by the one rule for errors of files, or run") {
  check_corpus("plan", [](const std::vector<std::byte>& bytes) {
    return try_plan({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  });
}

TEST_CASE("hostile quantised files are refused by the one rule for errors of files, or run") {
  check_corpus("model_file", [](const std::vector<std::byte>& bytes) { return try_model_file(bytes); });
}
