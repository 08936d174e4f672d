// The program as tests run it: in a folder of its own, with its exit code, its output and its JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support.h"

namespace qhv::test {

struct Outcome {
  int code;
  std::string out, err;
};

/// The whole file; empty if there is none.
std::string text_of(const std::string& path);

/// A temporary folder in which the program runs.
class ProgramFolder {
 public:
  /// `before`: shell commands in front of it, each closed by a semicolon.
  Outcome run(const std::string& arguments, const std::string& before = "") const;

  /// Its --json result; fails the test unless it ends with 0.
  nlohmann::json result(const std::string& arguments) const;

  /// Checks that it ends with code 1 and one line that holds all these words.
  void fails(const std::string& arguments, const std::vector<std::string>& words) const;

  /// Checks that it ends with code 2 and these words somewhere in its output.
  void is_wrong_usage(const std::string& arguments, const std::string& words) const;

  const TemporaryFolder folder;
};

/// A float checkpoint of a mobilevit_xxs with generated weights.
void write_generated_checkpoint(const std::string& path, int classes, int res);

}  // namespace qhv::test
