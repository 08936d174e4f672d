#include "quant/power_of_two.h"

#include <algorithm>
#include <cmath>

#include "tensor/vectorize.h"

namespace qhv {
namespace {

float factor_scale(const QParams& whole, int exponent) {
  return std::ldexp(whole.scale[0], exponent - kLargestExponent);
}

}  // namespace

FactorErrors factor_errors(const Tensor& x, const QParams& whole, int axis) {
  require(whole.axis < 0, "power of two", "parameters per channel");
  const std::int64_t channels = x.dim(axis);
  const std::int64_t inner = inner_count(x.shape(), axis);
  FactorErrors errors(std::size_t(channels), FactorErrors::value_type{});
  for (int exponent = 0; exponent <= kLargestExponent; ++exponent) {
    QParams q = whole;
    q.scale[0] = factor_scale(whole, exponent);
    const Tensor rounded = fake_quantize(x, q);
    for (std::int64_t row = 0; inner && row < x.size() / inner; ++row)
      errors[std::size_t(row % channels)][std::size_t(exponent)] += sum(inner, [&](std::int64_t i) {
        const double e = double(x[row * inner + i]) - double(rounded[row * inner + i]);
        return e * e;
      });
  }
  return errors;
}

void add(FactorErrors& total, const FactorErrors& errors) {
  for (std::size_t c = 0; c < total.size(); ++c)
    for (std::size_t e = 0; e < total[c].size(); ++e) total[c][e] += errors[c][e];
}

QParams power_of_two_factor(const QParams& whole, int axis, const FactorErrors& errors) {
  QParams q{{}, {}, axis, whole.qmin, whole.qmax};
  for (const auto& of_channel : errors) {
    const auto best = std::min_element(of_channel.begin(), of_channel.end());
    q.scale.push_back(factor_scale(whole, int(best - of_channel.begin())));
    q.zero_point.push_back(whole.zero_point[0]);
  }
  return q;
}

}  // namespace qhv
