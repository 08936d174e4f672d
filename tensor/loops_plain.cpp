#include <algorithm>

#include "tensor/exp.h"
#include "tensor/loops.h"
#include "tensor/vectorize.h"

namespace qhv {

QHV_VECTORIZE void silu_into(const real* src, real* dst, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = src[i] / (real(1) + exp_real(-src[i]));
}

/// y = x s with s = 1 / (1 + exp(-x)), so dx = dy s (1 + x (1 - s)).
QHV_VECTORIZE void silu_backward_into(const real* x, real* dx, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const real s = real(1) / (real(1) + exp_real(-x[i]));
    dx[i] *= s * (real(1) + x[i] * (real(1) - s));
  }
}

QHV_VECTORIZE void softmax_into(const real* src, real* dst, std::int64_t rows, std::int64_t width) {
  for (std::int64_t row = 0; row < rows; ++row, src += width, dst += width) {
    real largest = src[0];
    for (std::int64_t i = 1; i < width; ++i) largest = src[i] > largest ? src[i] : largest;
    for (std::int64_t i = 0; i < width; ++i) dst[i] = exp_real(src[i] - largest);
    const real factor = real(1 / sum(width, [dst](std::int64_t i) { return double(dst[i]); }));
    for (std::int64_t i = 0; i < width; ++i) dst[i] *= factor;
  }
}

QHV_VECTORIZE void softmax_backward_into(const real* dy, const real* y, real* dx, std::int64_t rows,
                                         std::int64_t width) {
  for (std::int64_t row = 0; row < rows; ++row, dy += width, y += width, dx += width) {
    const real average = real(sum(width, [=](std::int64_t i) { return double(dy[i]) * double(y[i]); }));
    for (std::int64_t i = 0; i < width; ++i) dx[i] = y[i] * (dy[i] - average);
  }
}

QHV_VECTORIZE double sum_of(const real* x, std::int64_t count) {
  return sum(count, [x](std::int64_t i) { return double(x[i]); });
}

QHV_VECTORIZE PlaneSums plane_sums(const real* dy, const real* x, std::int64_t count, double mean) {
  return {sum(count, [dy](std::int64_t i) { return double(dy[i]); }),
          sum(count, [dy, x, mean](std::int64_t i) { return dy[i] * (x[i] - mean); })};
}

void copy_rows(const real* src, real* dst, const PlaneRows& rows) {
  for (std::int64_t row = 0; row < rows.count; ++row)
    std::copy_n(src + row * rows.src_step, rows.width, dst + row * rows.dst_step);
}

QHV_VECTORIZE void add_rows(const real* src, real* dst, const PlaneRows& rows) {
  for (std::int64_t row = 0; row < rows.count; ++row, src += rows.src_step, dst += rows.dst_step)
    for (std::int64_t i = 0; i < rows.width; ++i) dst[i] += src[i];
}

QHV_VECTORIZE void weigh_taps(const real* src, std::span<const Tap<real>> taps, real bias, real* dst,
                              const PlaneRows& rows) {
  for (std::int64_t row = 0; row < rows.count; ++row, src += rows.src_step, dst += rows.dst_step) {
    std::fill_n(dst, rows.width, bias);
    for (const Tap<real>& tap : taps)
      for (std::int64_t i = 0; i < rows.width; ++i) dst[i] += tap.weight * src[tap.offset + i];
  }
}

QHV_VECTORIZE void add_products(const real* dy, const real* src, std::span<const Tap<real>> taps,
                                double* sums, const PlaneRows& rows) {
  for (std::int64_t row = 0; row < rows.count; ++row, src += rows.src_step, dy += rows.dst_step)
    for (std::size_t t = 0; t < taps.size(); ++t) {
      const real* x = src + taps[t].offset;
      sums[t] += sum(rows.width, [=](std::int64_t i) { return double(dy[i]) * double(x[i]); });
    }
}

}  // namespace qhv
