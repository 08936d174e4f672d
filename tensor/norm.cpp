#include <algorithm>
#include <cmath>

#include "tensor/exp.h"
#include "tensor/ops.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

struct Moments {
  double mean, inv_std;
};

/// Two passes, so that a mean far from zero does not cancel the variance away.
QHV_VECTORIZE Moments moments(const real* x, std::int64_t count, double eps) {
  const double mean = sum(count, [x](std::int64_t i) { return double(x[i]); }) / double(count);
  const double squares = sum(count, [x, mean](std::int64_t i) { return (x[i] - mean) * (x[i] - mean); });
  return {mean, 1 / std::sqrt(squares / double(count) + eps)};
}

QHV_VECTORIZE void softmax_row(const real* src, real* dst, std::int64_t width) {
  real largest = src[0];
  for (std::int64_t i = 1; i < width; ++i) largest = src[i] > largest ? src[i] : largest;
  for (std::int64_t i = 0; i < width; ++i) dst[i] = exp_real(src[i] - largest);
  const real factor = real(1 / sum(width, [dst](std::int64_t i) { return double(dst[i]); }));
  for (std::int64_t i = 0; i < width; ++i) dst[i] *= factor;
}

QHV_VECTORIZE void affine_into(const real* src, real* dst, std::int64_t count, real scale, real shift) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = src[i] * scale + shift;
}

QHV_VECTORIZE void normalize_row(const real* src, real* dst, std::int64_t count, Moments m,
                                 const real* weight, const real* bias) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = real((src[i] - m.mean) * m.inv_std * weight[i] + bias[i]);
}

void require_channels(const char* op, const Tensor& parameter, std::int64_t channels, const Tensor& x) {
  require(parameter.shape() == Shape{channels}, op, "parameter of shape ", parameter.shape(), " for input ",
          x.shape());
}

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean,
                  const Tensor& var, double eps) {
  require(x.rank() >= 2, "batch_norm", "input of shape ", x.shape());
  const std::int64_t batch = x.dim(0), channels = x.dim(1),
                     area = x.size() / std::max<std::int64_t>(1, batch * channels);
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
  require(x.rank() >= 2, "group_norm", "input of shape ", x.shape());
  const std::int64_t batch = x.dim(0), channels = x.dim(1),
                     area = x.size() / std::max<std::int64_t>(1, batch * channels);
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
  for (std::int64_t row = 0; row < x.size() / width; ++row)
    softmax_row(x.data() + row * width, y.data() + row * width, width);
  return y;
}

}  // namespace qhv
