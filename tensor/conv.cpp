// Convolution three ways, by what the weight looks like: a 1x1 convolution is a matrix product as it stands,
// a depthwise one runs over its taps, and any other gathers its windows (im2col) and is a matrix product
// then.
#include <algorithm>

#include "tensor/conv_windows.h"
#include "tensor/gemm.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

/// One channel: src [H, W], w [k, k] -> dst [H', W'], starting from what dst holds.
QHV_VECTORIZE void depthwise_plane(const real* src, const real* w, real* dst, const ConvSizes& s,
                                   const ConvGeometry& g) {
  for (std::int64_t oy = 0; oy < s.out_height; ++oy)
    for (std::int64_t ky = 0; ky < g.kernel; ++ky) {
      const std::int64_t iy = oy * g.stride + ky - g.pad;
      if (iy < 0 || iy >= s.height) continue;
      for (std::int64_t kx = 0; kx < g.kernel; ++kx) {
        const std::int64_t offset = kx - g.pad;
        const ColumnRange range = valid_columns(offset, g.stride, s.width, s.out_width);
        const real factor = w[ky * g.kernel + kx];
        const real* row = src + iy * s.width + offset;
        real* out = dst + oy * s.out_width;
        if (g.stride == 1)
          for (std::int64_t ox = range.begin; ox < range.end; ++ox) out[ox] += factor * row[ox];
        else
          for (std::int64_t ox = range.begin; ox < range.end; ++ox) out[ox] += factor * row[ox * g.stride];
      }
    }
}

}  // namespace

void im2col(const real* src, real* columns, const ConvSizes& s, const ConvGeometry& g) {
  for (std::int64_t c = 0; c < s.channels; ++c)
    for (std::int64_t ky = 0; ky < g.kernel; ++ky)
      for (std::int64_t kx = 0; kx < g.kernel; ++kx)
        for (std::int64_t oy = 0; oy < s.out_height; ++oy, columns += s.out_width) {
          const std::int64_t iy = oy * g.stride + ky - g.pad, offset = kx - g.pad;
          const bool inside = iy >= 0 && iy < s.height;
          const ColumnRange range =
              inside ? valid_columns(offset, g.stride, s.width, s.out_width) : ColumnRange{0, 0};
          const real* row = src + (c * s.height + iy) * s.width + offset;
          std::fill(columns, columns + range.begin, real(0));
          for (std::int64_t ox = range.begin; ox < range.end; ++ox) columns[ox] = row[ox * g.stride];
          std::fill(columns + range.end, columns + s.out_width, real(0));
        }
}

void validate(const ConvGeometry& g, std::string_view op) {
  require(g.kernel > 0 && g.stride > 0 && g.pad >= 0 && g.groups > 0, op, "kernel ", g.kernel, ", stride ",
          g.stride, ", pad ", g.pad, ", groups ", g.groups);
}

std::int64_t conv_extent(std::int64_t size, const ConvGeometry& g) {
  return (size + 2 * g.pad - g.kernel) / g.stride + 1;
}

ConvSizes conv_sizes(const char* op, const Shape& x, const Shape& w, const ConvGeometry& g) {
  validate(g, op);
  require(x.size() == 4 && w.size() == 4 && w[1] * g.groups == x[1] && w[0] % g.groups == 0 &&
              w[2] == g.kernel && w[3] == g.kernel && x[2] + 2 * g.pad >= g.kernel &&
              x[3] + 2 * g.pad >= g.kernel,
          op, "input ", x, " and weight ", w, " with kernel ", g.kernel, ", groups ", g.groups);
  ConvSizes s{.batch = x[0], .channels = w[1], .height = x[2], .width = x[3], .group_out = w[0] / g.groups};
  s.out_height = conv_extent(s.height, g);
  s.out_width = conv_extent(s.width, g);
  s.area = s.height * s.width;
  s.out_area = s.out_height * s.out_width;
  s.window = s.channels * g.kernel * g.kernel;
  s.pointwise = g.kernel == 1 && g.stride == 1 && g.pad == 0;
  s.depthwise = s.channels == 1 && s.group_out == 1;
  return s;
}

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor* b, const ConvGeometry& g) {
  const ConvSizes s = conv_sizes("conv2d", x.shape(), w.shape(), g);
  const std::int64_t out = w.dim(0);
  require(!b || b->shape() == Shape{out}, "conv2d", "bias ", b ? b->shape() : Shape{}, " for ", out,
          " outputs");

  Tensor y = Tensor::uninitialized({s.batch, out, s.out_height, s.out_width});
  for (std::int64_t i = 0; i < s.batch * out; ++i)
    std::fill_n(y.data() + i * s.out_area, s.out_area, b ? (*b)[i % out] : 0);
  Tensor columns = s.pointwise || s.depthwise ? Tensor() : Tensor::uninitialized({s.window, s.out_area});
  for (std::int64_t i = 0; i < s.batch * g.groups; ++i) {
    const std::int64_t group = i % g.groups;
    const real* src = x.data() + i * s.channels * s.area;
    const real* wei = w.data() + group * s.group_out * s.window;
    real* dst = y.data() + i * s.group_out * s.out_area;
    if (s.depthwise) {
      depthwise_plane(src, wei, dst, s, g);
      continue;
    }
    if (!s.pointwise) im2col(src, columns.data(), s, g);
    gemm({.m = s.group_out, .n = s.out_area, .k = s.window, .accumulate = true}, wei,
         s.pointwise ? src : columns.data(), dst);
  }
  return y;
}

}  // namespace qhv
