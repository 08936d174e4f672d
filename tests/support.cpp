#include "tests/support.h"

#include <cmath>
#include <filesystem>
#include <stdexcept>
#include <unistd.h>

#include "tensor/rng.h"

namespace qhv::test {
namespace {

int skipped = 0;

}  // namespace

std::string golden_path(const std::string& name) {
  const std::string path = std::string(QHV_SOURCE_DIR) + "/tests/golden/" + name;
  if (!std::filesystem::exists(path)) throw std::runtime_error(path + " is missing");
  return path;
}

std::optional<std::string> shared_path(const std::string& name) {
  const std::string path = std::string(QHV_SOURCE_DIR) + "/../shared/" + name;
  if (std::filesystem::exists(path)) return path;
  ++skipped;
  return std::nullopt;
}

int skipped_count() { return skipped; }

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "qhyvit-test-XXXXXX").string();
  if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::invalid_argument& error) {
    return std::string("invalid_argument: ") + error.what();
  } catch (const std::runtime_error& error) {
    return std::string("runtime_error: ") + error.what();
  }
  return "no error";
}

void Attempts::count(const std::function<void()>& load) {
  try {
    load();
    ++loaded;
  } catch (const std::runtime_error&) {
    ++refused;
  }
}

std::string difference(const Tensor& actual, const Tensor& expected, double absolute, double relative) {
  if (actual.shape() != expected.shape())
    return concat("shape ", actual.shape(), " instead of ", expected.shape());
  std::int64_t worst = -1;
  double worst_excess = 0;
  for (std::int64_t i = 0; i < actual.size(); ++i) {
    const double allowed = absolute + relative * std::abs(double(expected[i]));
    const double error = std::abs(double(actual[i]) - double(expected[i]));
    const double excess = std::isnan(error) ? INFINITY : error / (allowed > 0 ? allowed : 1e-300);
    if (error != 0 && excess > worst_excess) worst = i, worst_excess = excess;
  }
  if (worst_excess <= 1) return "";
  std::ostringstream text;
  text.precision(17);
  text << "element " << worst << " of " << actual.shape() << ": " << actual[worst] << " instead of "
       << expected[worst] << ", " << worst_excess << " times the tolerance";
  return text.str();
}

bool near(double actual, double expected, double tolerance) {
  return std::abs(actual - expected) <= tolerance;
}

Tensor random_tensor(Shape shape, std::uint64_t seed, double low, double high) {
  Tensor t(std::move(shape));
  for (std::int64_t i = 0; i < t.size(); ++i)
    t[i] = real(low + (high - low) * unit_uniform(seed, std::uint64_t(i)));
  return t;
}

}  // namespace qhv::test
