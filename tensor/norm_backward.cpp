// The adjoints of the normalisations. With x' = (x - mean) * inv_std and g = dy * weight, and where the
// moments are those of x itself over some set of elements, averages being over that set:
//
//   dx = inv_std * (g - average(g) - x' * average(g * x'))
//
// Source: S. Ioffe, C. Szegedy, "Batch Normalization", 2015, section 3.
#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/loops.h"
#include "tensor/moments.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

QHV_VECTORIZE void scale_into(const real* src, real* dst, std::int64_t count, real factor) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = src[i] * factor;
}

/// dx = factor * dy - slope * (x - mean) - shift
QHV_VECTORIZE void centered_into(const real* dy, const real* x, real* dx, std::int64_t count, real factor,
                                 real slope, real mean, real shift) {
  for (std::int64_t i = 0; i < count; ++i) dx[i] = factor * dy[i] - slope * (x[i] - mean) - shift;
}

/// One row: dx, and what it adds to the gradients of the parameters.
QHV_VECTORIZE void layer_norm_row(const real* dy, const real* x, const real* weight, real* dx,
                                  std::int64_t count, Moments m, double* dweight, double* dbias) {
  const double inv_count = 1 / double(count);
  const double mean_g =
      inv_count * sum(count, [=](std::int64_t i) { return double(dy[i]) * double(weight[i]); });
  const double mean_gx = inv_count * sum(count, [=](std::int64_t i) {
                           return double(dy[i]) * double(weight[i]) * ((x[i] - m.mean) * m.inv_std);
                         });
  for (std::int64_t i = 0; i < count; ++i) {
    const double normalized = (x[i] - m.mean) * m.inv_std;
    dx[i] = real((double(dy[i]) * double(weight[i]) - mean_g - normalized * mean_gx) * m.inv_std);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    dweight[i] += dy[i] * ((x[i] - m.mean) * m.inv_std);
    dbias[i] += dy[i];
  }
}

void require_gradient(const char* op, const Tensor& dy, const Tensor& x) {
  require(dy.shape() == x.shape(), op, "gradient ", dy.shape(), " for input ", x.shape());
}

NormGradients uninitialized_gradients(const Shape& x, std::int64_t channels) {
  return {Tensor::uninitialized(x), Tensor::uninitialized({channels}), Tensor::uninitialized({channels})};
}

}  // namespace

NormGradients batch_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                  const Tensor& var, double eps) {
  const char* op = "batch_norm_backward";
  const auto [batch, channels, area] = planes(op, x.shape());
  require_gradient(op, dy, x);
  for (const Tensor* p : {&weight, &mean, &var}) require_channels(op, *p, channels, x);
  NormGradients result = uninitialized_gradients(x.shape(), channels);
  for (std::int64_t c = 0; c < channels; ++c) {
    const double inv_std = 1 / std::sqrt(double(var[c]) + eps);
    PlaneSums sums;
    for (std::int64_t n = 0; n < batch; ++n) {
      const std::int64_t start = (n * channels + c) * area;
      const PlaneSums part = plane_sums(dy.data() + start, x.data() + start, area, mean[c]);
      sums = {sums.dy + part.dy, sums.dy_x + part.dy_x};
      scale_into(dy.data() + start, result.dx.data() + start, area, real(weight[c] * inv_std));
    }
    result.dweight[c] = real(sums.dy_x * inv_std);
    result.dbias[c] = real(sums.dy);
  }
  return result;
}

NormGradients batch_norm_train_backward(const Tensor& dy, const Tensor& x, const Tensor& weight,
                                        const BatchStatistics& stats, double eps) {
  const char* op = "batch_norm_train_backward";
  const auto [batch, channels, area] = planes(op, x.shape());
  require_gradient(op, dy, x);
  for (const Tensor* p : {&weight, &stats.mean, &stats.var}) require_channels(op, *p, channels, x);
  NormGradients result = uninitialized_gradients(x.shape(), channels);
  for (std::int64_t c = 0; c < channels; ++c) {
    const real mean = stats.mean[c];
    const double inv_std = 1 / std::sqrt(double(stats.var[c]) + eps), factor = weight[c] * inv_std;
    PlaneSums sums;
    for (std::int64_t n = 0; n < batch; ++n) {
      const std::int64_t start = (n * channels + c) * area;
      const PlaneSums part = plane_sums(dy.data() + start, x.data() + start, area, mean);
      sums = {sums.dy + part.dy, sums.dy_x + part.dy_x};
    }
    const double inv_count = 1 / double(batch * area);
    for (std::int64_t n = 0; n < batch; ++n) {
      const std::int64_t start = (n * channels + c) * area;
      centered_into(dy.data() + start, x.data() + start, result.dx.data() + start, area, real(factor),
                    real(factor * sums.dy_x * inv_std * inv_std * inv_count), mean,
                    real(factor * sums.dy * inv_count));
    }
    result.dweight[c] = real(sums.dy_x * inv_std);
    result.dbias[c] = real(sums.dy);
  }
  return result;
}

NormGradients layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, double eps) {
  const char* op = "layer_norm_backward";
  require(x.rank() >= 1, op, "input of shape ", x.shape());
  const std::int64_t channels = x.dim(-1);
  require_gradient(op, dy, x);
  require_channels(op, weight, channels, x);
  NormGradients result = uninitialized_gradients(x.shape(), channels);
  std::vector<double> dweight(std::size_t(channels), 0.0), dbias(std::size_t(channels), 0.0);
  for (std::int64_t start = 0; start < x.size(); start += channels)
    layer_norm_row(dy.data() + start, x.data() + start, weight.data(), result.dx.data() + start, channels,
                   moments(x.data() + start, channels, eps), dweight.data(), dbias.data());
  std::copy(dweight.begin(), dweight.end(), result.dweight.data());
  std::copy(dbias.begin(), dbias.end(), result.dbias.data());
  return result;
}

NormGradients group_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, double eps) {
  const char* op = "group_norm_backward";
  const auto [batch, channels, area] = planes(op, x.shape());
  require_gradient(op, dy, x);
  require_channels(op, weight, channels, x);
  NormGradients result = uninitialized_gradients(x.shape(), channels);
  std::vector<double> dweight(std::size_t(channels), 0.0), dbias(std::size_t(channels), 0.0);
  for (std::int64_t n = 0; n < batch; ++n) {
    const std::int64_t image = n * channels * area;
    const Moments m = moments(x.data() + image, channels * area, eps);
    PlaneSums weighted;
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::int64_t start = image + c * area;
      const PlaneSums sums = plane_sums(dy.data() + start, x.data() + start, area, m.mean);
      dweight[std::size_t(c)] += sums.dy_x * m.inv_std;
      dbias[std::size_t(c)] += sums.dy;
      weighted = {weighted.dy + weight[c] * sums.dy, weighted.dy_x + weight[c] * sums.dy_x};
    }
    const double factor = m.inv_std / double(channels * area);
    for (std::int64_t c = 0; c < channels; ++c)
      centered_into(dy.data() + image + c * area, x.data() + image + c * area,
                    result.dx.data() + image + c * area, area, real(weight[c] * m.inv_std),
                    real(factor * weighted.dy_x * m.inv_std * m.inv_std), real(m.mean),
                    real(factor * weighted.dy));
  }
  std::copy(dweight.begin(), dweight.end(), result.dweight.data());
  std::copy(dbias.begin(), dbias.end(), result.dbias.data());
  return result;
}

Tensor softmax_backward(const Tensor& dy, const Tensor& y) {
  require(y.rank() >= 1 && y.dim(-1) > 0, "softmax_backward", "output of shape ", y.shape());
  require(dy.shape() == y.shape(), "softmax_backward", "gradient ", dy.shape(), " for output ", y.shape());
  const std::int64_t width = y.dim(-1);
  Tensor dx = Tensor::uninitialized(y.shape());
  softmax_backward_into(dy.data(), y.data(), dx.data(), y.size() / width, width);
  return dx;
}

}  // namespace qhv
