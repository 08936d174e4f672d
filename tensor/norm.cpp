#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/loops.h"
#include "tensor/moments.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

struct Spread {
  double mean, squares;  // the sum of the squared deviations from the mean
};

/// Two passes, so that a mean far from zero does not cancel the variance away.
QHV_VECTORIZE Spread spread(const real* x, std::int64_t count) {
  const double mean = sum(count, [x](std::int64_t i) { return double(x[i]); }) / double(count);
  return {mean, sum(count, [x, mean](std::int64_t i) { return (x[i] - mean) * (x[i] - mean); })};
}

QHV_VECTORIZE void affine_into(const real* src, real* dst, std::int64_t count, real scale, real shift) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = src[i] * scale + shift;
}

QHV_VECTORIZE void normalize_row(const real* src, real* dst, std::int64_t count, Moments m,
                                 const real* weight, const real* bias) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = real((src[i] - m.mean) * m.inv_std * weight[i] + bias[i]);
}

}  // namespace

Moments moments(const real* x, std::int64_t count, double eps) {
  const Spread s = spread(x, count);
  return {s.mean, 1 / std::sqrt(s.squares / double(count) + eps)};
}

Planes planes(const char* op, const Shape& x) {
  require(x.size() >= 2, op, "input of shape ", x);
  return {x[0], x[1], element_count(x) / std::max<std::int64_t>(1, x[0] * x[1])};
}

void require_channels(const char* op, const Tensor& parameter, std::int64_t channels, const Tensor& x) {
  require(parameter.shape() == Shape{channels}, op, "parameter of shape ", parameter.shape(), " for input ",
          x.shape());
}

Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean,
                  const Tensor& var, double eps) {
  const auto [batch, channels, area] = planes("batch_norm", x.shape());
  for (const Tensor* p : {&weight, &bias, &mean, &var}) require_channels("batch_norm", *p, channels, x);
  Tensor y = Tensor::uninitialized(x.shape());
  for (std::int64_t i = 0; i < batch * channels; ++i) {
    const std::int64_t c = i % channels;
    const double factor = weight[c] / std::sqrt(double(var[c]) + eps);
    affine_into(x.data() + i * area, y.data() + i * area, area, real(factor),
                real(bias[c] - mean[c] * factor));
  }
  return y;
}

BatchStatistics batch_statistics(const Tensor& x) {
  const auto [batch, channels, area] = planes("batch_statistics", x.shape());
  require(batch * area > 0, "batch_statistics", "input of shape ", x.shape());
  BatchStatistics stats{Tensor::uninitialized({channels}), Tensor::uninitialized({channels}), batch * area};
  std::vector<Spread> parts(static_cast<std::size_t>(batch));
  for (std::int64_t c = 0; c < channels; ++c) {
    double mean = 0, squares = 0;
    for (std::int64_t n = 0; n < batch; ++n) {
      const Spread part = spread(x.data() + (n * channels + c) * area, area);
      parts[std::size_t(n)] = part;
      mean += part.mean / double(batch);
    }
    // Planes are equally large, so the deviations of their means join those from them.
    for (const Spread& part : parts)
      squares += part.squares + double(area) * (part.mean - mean) * (part.mean - mean);
    stats.mean[c] = real(mean);
    stats.var[c] = real(squares / double(batch * area));
  }
  return stats;
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  require(x.rank() >= 1, "layer_norm", "input of shape ", x.shape());
  const std::int64_t channels = x.dim(-1);
  require_channels("layer_norm", weight, channels, x);
  require_channels("layer_norm", bias, channels, x);
  Tensor y = Tensor::uninitialized(x.shape());
  for (std::int64_t row = 0; row < x.size() / std::max<std::int64_t>(1, channels); ++row) {
    const real* src = x.data() + row * channels;
    real* dst = y.data() + row * channels;
    normalize_row(src, dst, channels, moments(src, channels, eps), weight.data(), bias.data());
  }
  return y;
}

Tensor group_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  const auto [batch, channels, area] = planes("group_norm", x.shape());
  require_channels("group_norm", weight, channels, x);
  require_channels("group_norm", bias, channels, x);
  Tensor y = Tensor::uninitialized(x.shape());
  for (std::int64_t n = 0; n < batch; ++n) {
    const Moments m = moments(x.data() + n * channels * area, channels * area, eps);
    for (std::int64_t c = 0; c < channels; ++c) {
      const double factor = weight[c] * m.inv_std;
      const std::int64_t start = (n * channels + c) * area;
      affine_into(x.data() + start, y.data() + start, area, real(factor), real(bias[c] - m.mean * factor));
    }
  }
  return y;
}

Tensor softmax(const Tensor& x) {
  require(x.rank() >= 1 && x.dim(-1) > 0, "softmax", "input of shape ", x.shape());
  const std::int64_t width = x.dim(-1);
  Tensor y = Tensor::uninitialized(x.shape());
  softmax_into(x.data(), y.data(), x.size() / width, width);
  return y;
}

}  // namespace qhv
