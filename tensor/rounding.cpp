// What learnt rounding is made of.
#include <algorithm>
#include <cmath>

#include "tensor/ops.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

constexpr double kStretch = 1.2, kShift = -0.1;  // AdaRound's zeta - gamma and gamma

double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

QHV_VECTORIZE void round_into(const real* src, real* dst, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = std::nearbyint(src[i]);
}

}  // namespace

Tensor round_half_even(const Tensor& x) {
  Tensor y = Tensor::uninitialized(x.shape());
  round_into(x.data(), y.data(), x.size());
  return y;
}

Tensor rectified_sigmoid(const Tensor& v) {
  Tensor h = Tensor::uninitialized(v.shape());
  for (std::int64_t i = 0; i < v.size(); ++i)
    h[i] = real(std::clamp(kStretch * sigmoid(v[i]) + kShift, 0.0, 1.0));
  return h;
}

Tensor rectified_sigmoid_backward(Tensor dy, const Tensor& v) {
  require(dy.shape() == v.shape(), "rectified_sigmoid_backward", "shapes ", dy.shape(), " and ", v.shape());
  for (std::int64_t i = 0; i < v.size(); ++i) {
    const double s = sigmoid(v[i]), h = kStretch * s + kShift;
    dy[i] = h > 0 && h < 1 ? real(dy[i] * kStretch * s * (1 - s)) : real(0);
  }
  return dy;
}

}  // namespace qhv
