#include "quant/metrics.h"

#include <cmath>
#include <limits>

#include "tensor/vectorize.h"

namespace qhv {
namespace {

QHV_VECTORIZE double squares(const real* x, std::int64_t count) {
  return sum(count, [&](std::int64_t i) { return double(x[i]) * double(x[i]); });
}
QHV_VECTORIZE double squared_differences(const real* x, const real* y, std::int64_t count) {
  return sum(count, [&](std::int64_t i) {
    const double error = double(x[i]) - double(y[i]);
    return error * error;
  });
}

}  // namespace

void Sqnr::add(const Tensor& reference, const Tensor& approximation) {
  require(reference.shape() == approximation.shape(), "sqnr", "shapes ", reference.shape(), " and ",
          approximation.shape());
  signal += squares(reference.data(), reference.size());
  noise += squared_differences(reference.data(), approximation.data(), reference.size());
}

double Sqnr::db() const {
  if (noise == 0) return signal == 0 ? 0 : std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal / noise);
}

}  // namespace qhv
