#include "quant/metrics.h"

#include <cmath>
#include <limits>

namespace qhv {

void Sqnr::add(const Tensor& reference, const Tensor& approximation) {
  require(reference.shape() == approximation.shape(), "sqnr", "shapes ", reference.shape(), " and ",
          approximation.shape());
  for (std::int64_t i = 0; i < reference.size(); ++i) {
    const double x = reference[i], error = x - approximation[i];
    signal += x * x;
    noise += error * error;
  }
}

double Sqnr::db() const {
  if (noise == 0) return signal == 0 ? 0 : std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal / noise);
}

}  // namespace qhv
