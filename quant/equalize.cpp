#include "quant/equalize.h"

#include <algorithm>
#include <cmath>

namespace qhv {
namespace {

constexpr double kLargestFactor = 64;

template <typename Function>
Tensor map_channels(const Tensor& weight, std::span<const float> factors, Function function) {
  if (factors.empty()) return weight;
  require(weight.rank() >= 2 && weight.dim(1) == std::int64_t(factors.size()), "equalize", factors.size(),
          " factors for a weight of shape ", weight.shape());
  const std::int64_t channels = weight.dim(1), inner = weight.size() / (weight.dim(0) * channels);
  Tensor y = Tensor::uninitialized(weight.shape());
  for (std::int64_t i = 0; i < weight.size(); ++i)
    y[i] = function(weight[i], real(factors[std::size_t(i / inner % channels)]));
  return y;
}

}  // namespace

std::vector<float> equalization(const std::vector<Range>& ranges, double exponent) {
  std::vector<double> magnitudes;
  double logarithms = 0;
  int alive = 0;
  for (const Range& r : ranges) {
    magnitudes.push_back(std::max(std::abs(r.lo), std::abs(r.hi)));
    if (magnitudes.back() > 0) logarithms += std::log(magnitudes.back()), ++alive;
  }
  const double mean = alive ? std::exp(logarithms / alive) : 1;
  std::vector<float> factors;
  for (const double m : magnitudes)
    factors.push_back(
        m > 0 ? float(std::clamp(std::pow(m / mean, exponent), 1 / kLargestFactor, kLargestFactor)) : 1.0f);
  return factors;
}

Tensor multiply_channels(const Tensor& weight, std::span<const float> factors) {
  return map_channels(weight, factors, [](real w, real a) { return w * a; });
}

Tensor divide_channels(const Tensor& weight, std::span<const float> factors) {
  return map_channels(weight, factors, [](real w, real a) { return w / a; });
}

Tensor fake_quantize_weight(const Tensor& weight, const Quantizer& q, std::span<const float> factors) {
  return divide_channels(fake_quantize(multiply_channels(weight, factors), q), factors);
}

QParams spread(const QParams& per_tensor, std::span<const float> factors, int axis) {
  if (factors.empty()) return per_tensor;
  QParams q = per_tensor;
  q.axis = axis;
  q.scale.clear();
  for (const float a : factors) q.scale.push_back(per_tensor.scale[0] * a);
  q.zero_point.assign(factors.size(), per_tensor.zero_point[0]);
  return q;
}

}  // namespace qhv
