// What several test files need: where data lies, temporary folders, error texts, and comparing tensors.
//
// Data: tests/golden/ is part of the project and always there. The development data (trained weights,
// photographs) is not: shared_path() returns nothing when it is absent, and the test returns early; main.cpp
// prints how many did.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "tensor/tensor.h"

namespace qhv::test {

/// Path of a file of tests/golden. A missing one fails the test that asked.
std::string golden_path(const std::string& name);

/// Path of a file or folder of the development data, or nothing, which counts as one skipped test.
std::optional<std::string> shared_path(const std::string& name);

/// How many calls of shared_path found nothing.
int skipped_count();

/// A fresh folder that is removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  /// Path of `name` in the folder.
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// The text of the exception that `action` throws, with its kind before it: "invalid_argument: ...",
/// "runtime_error: ..."; "no error" if it throws none.
std::string error_of(const std::function<void()>& action);

/// What becomes of damaged files: each may load or be refused with std::runtime_error; anything else leaves
/// count() and fails the test.
struct Attempts {
  int loaded = 0, refused = 0;
  void count(const std::function<void()>& load);
};

/// Empty if every |actual - expected| <= absolute + relative * |expected| and neither is NaN; otherwise the
/// worst index and both values.
std::string difference(const Tensor& actual, const Tensor& expected, double absolute, double relative = 0);

/// |actual - expected| <= tolerance, for single numbers.
bool near(double actual, double expected, double tolerance);

/// Uniform values in [low, high), the same for the same seed everywhere.
Tensor random_tensor(Shape shape, std::uint64_t seed, double low = -1, double high = 1);

}  // namespace qhv::test
