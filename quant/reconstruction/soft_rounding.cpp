#include "quant/reconstruction/soft_rounding.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "quant/equalize.h"
#include "tensor/exp.h"
#include "tensor/ops.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

/// v with h(v) = fraction, for fractions that are not at an end already.
double variable_of(double fraction) {
  const double sigmoid = (std::clamp(fraction, 0.001, 0.999) + 0.1) / 1.2;
  return std::log(sigmoid / (1 - sigmoid));
}

QHV_VECTORIZE void rectified_sigmoids(const real* v, real* h, real* slope, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const real s = 1 / (1 + exp_real(-v[i])), value = real(1.2) * s - real(0.1);
    h[i] = value < 0 ? real(0) : value > 1 ? real(1) : value;
    slope[i] = value > 0 && value < 1 ? real(1.2) * s * (1 - s) : real(0);
  }
}

/// The scale of each element, as a tensor of the weight's shape.
Tensor scales_of(const Shape& shape, const QParams& q) {
  const std::int64_t inner = element_count(shape) / shape[0];
  Tensor scales = Tensor::uninitialized(shape);
  for (std::int64_t i = 0; i < scales.size(); ++i)
    scales[i] = real(q.scale[q.axis < 0 ? 0 : std::size_t(i / inner / q.group)]);
  return scales;
}

}  // namespace

SoftRounding::SoftRounding(const Tensor& weight, const QParams& q, std::span<const float> equalization)
    : low_(weight.shape()), step_(weight.shape()), fraction_(weight.shape()) {
  require(q.axis <= 0, "soft rounding", "a weight with scales along axis ", q.axis);
  const Tensor equalized = multiply_channels(weight, equalization), scales = scales_of(weight.shape(), q);
  const std::int64_t inner = weight.size() / weight.dim(0);
  Tensor v(weight.shape());
  for (std::int64_t i = 0; i < weight.size(); ++i) {
    const std::size_t group = q.axis < 0 ? 0 : std::size_t(i / inner / q.group);
    const double low = double(q.qmin) - q.zero_point[group], high = double(q.qmax) - q.zero_point[group],
                 position = double(equalized[i]) / double(scales[i]), floor = std::floor(position);
    low_[i] = real(std::clamp(floor, low, high) * double(scales[i]));
    step_[i] = real(floor >= low && floor + 1 <= high ? double(scales[i]) : 0.0);
    fraction_[i] = real(position - floor);
    v[i] = real(variable_of(double(fraction_[i])));
    free_ += step_[i] != 0;
  }
  low_ = divide_channels(low_, equalization);
  step_ = divide_channels(step_, equalization);
  set_variables(std::move(v));
}

void SoftRounding::set_variables(Tensor v) {
  v_ = std::move(v);
  h_ = Tensor::uninitialized(v_.shape());
  slope_ = Tensor::uninitialized(v_.shape());
  rectified_sigmoids(v_.data(), h_.data(), slope_.data(), v_.size());
}

Tensor SoftRounding::weight() const {
  Tensor w = low_;
  for (std::int64_t i = 0; i < w.size(); ++i) w[i] += step_[i] * h_[i];
  return w;
}

Tensor SoftRounding::rounded_weight() const {
  Tensor w = low_;
  for (std::int64_t i = 0; i < w.size(); ++i) w[i] += h_[i] >= real(0.5) ? step_[i] : real(0);
  return w;
}

Tensor SoftRounding::gradient(Tensor dweight) const {
  for (std::int64_t i = 0; i < dweight.size(); ++i) dweight[i] *= step_[i] * slope_[i];
  return dweight;
}

double SoftRounding::regularize(double beta, double factor, Tensor& gradient) const {
  if (free_ == 0) return 0;
  // |2 h - 1|^(beta - 1) from a table, for a power takes longer than all the rest of a step.
  constexpr int kSteps = 1024;
  std::array<double, kSteps + 1> powers;
  for (int i = 0; i <= kSteps; ++i) powers[std::size_t(i)] = std::pow(double(i) / kSteps, beta - 1);
  const double scale = factor / double(free_);
  double sum = 0;
  for (std::int64_t i = 0; i < h_.size(); ++i) {
    if (step_[i] == 0) continue;
    const double t = 2 * double(h_[i]) - 1, power = powers[std::size_t(std::abs(t) * kSteps + 0.5)];
    sum += 1 - power * std::abs(t);
    gradient[i] -= real(2 * beta * (t < 0 ? -power : power) * scale) * slope_[i];
  }
  return scale * sum;
}

std::int64_t SoftRounding::flipped() const {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < h_.size(); ++i)
    count += step_[i] != 0 && (h_[i] >= real(0.5)) != (fraction_[i] >= real(0.5));
  return count;
}

}  // namespace qhv
