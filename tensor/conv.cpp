// Convolution three ways, by what the weight looks like: a 1x1 convolution is a matrix product as it stands,
// a depthwise one runs over its taps, and any other gathers its windows (im2col) and is a matrix product
// then.
#include <algorithm>

#include "tensor/gemm.h"
#include "tensor/ops.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

struct Extents {
  std::int64_t channels, height, width, out_height, out_width;
};

/// Output columns x for which x * stride + offset lies in [0, width).
struct ColumnRange {
  std::int64_t begin, end;
};
ColumnRange valid_columns(std::int64_t offset, std::int64_t stride, std::int64_t width,
                          std::int64_t out_width) {
  const std::int64_t begin = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const std::int64_t end = offset >= width ? 0 : (width - 1 - offset) / stride + 1;
  return {std::min(begin, out_width), std::clamp(end, std::min(begin, out_width), out_width)};
}

/// One channel: src [H, W], w [k, k] -> dst [H', W'], starting from what dst holds.
QHV_VECTORIZE void depthwise_plane(const real* src, const real* w, real* dst, const Extents& e,
                                   const ConvGeometry& g) {
  for (std::int64_t oy = 0; oy < e.out_height; ++oy)
    for (std::int64_t ky = 0; ky < g.kernel; ++ky) {
      const std::int64_t iy = oy * g.stride + ky - g.pad;
      if (iy < 0 || iy >= e.height) continue;
      for (std::int64_t kx = 0; kx < g.kernel; ++kx) {
        const std::int64_t offset = kx - g.pad;
        const ColumnRange range = valid_columns(offset, g.stride, e.width, e.out_width);
        const real factor = w[ky * g.kernel + kx];
        const real* row = src + iy * e.width + offset;
        real* out = dst + oy * e.out_width;
        if (g.stride == 1)
          for (std::int64_t ox = range.begin; ox < range.end; ++ox) out[ox] += factor * row[ox];
        else
          for (std::int64_t ox = range.begin; ox < range.end; ++ox) out[ox] += factor * row[ox * g.stride];
      }
    }
}

/// src [C, H, W] -> columns [C * k * k, H' * W'], zero where the window leaves the map.
void im2col(const real* src, real* columns, const Extents& e, const ConvGeometry& g) {
  for (std::int64_t c = 0; c < e.channels; ++c)
    for (std::int64_t ky = 0; ky < g.kernel; ++ky)
      for (std::int64_t kx = 0; kx < g.kernel; ++kx)
        for (std::int64_t oy = 0; oy < e.out_height; ++oy, columns += e.out_width) {
          const std::int64_t iy = oy * g.stride + ky - g.pad, offset = kx - g.pad;
          const bool inside = iy >= 0 && iy < e.height;
          const ColumnRange range =
              inside ? valid_columns(offset, g.stride, e.width, e.out_width) : ColumnRange{0, 0};
          const real* row = src + (c * e.height + iy) * e.width + offset;
          std::fill(columns, columns + range.begin, real(0));
          for (std::int64_t ox = range.begin; ox < range.end; ++ox) columns[ox] = row[ox * g.stride];
          std::fill(columns + range.end, columns + e.out_width, real(0));
        }
}

}  // namespace

void validate(const ConvGeometry& g, std::string_view op) {
  require(g.kernel > 0 && g.stride > 0 && g.pad >= 0 && g.groups > 0, op, "kernel ", g.kernel, ", stride ",
          g.stride, ", pad ", g.pad, ", groups ", g.groups);
}

std::int64_t conv_extent(std::int64_t size, const ConvGeometry& g) {
  return (size + 2 * g.pad - g.kernel) / g.stride + 1;
}

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor* b, const ConvGeometry& g) {
  validate(g, "conv2d");
  require(x.rank() == 4 && w.rank() == 4 && w.dim(1) * g.groups == x.dim(1) && w.dim(0) % g.groups == 0 &&
              w.dim(2) == g.kernel && w.dim(3) == g.kernel && x.dim(2) + 2 * g.pad >= g.kernel &&
              x.dim(3) + 2 * g.pad >= g.kernel,
          "conv2d", "input ", x.shape(), " and weight ", w.shape(), " with kernel ", g.kernel, ", groups ",
          g.groups);
  const std::int64_t out = w.dim(0);
  require(!b || b->shape() == Shape{out}, "conv2d", "bias ", b ? b->shape() : Shape{}, " for ", out,
          " outputs");
  const Extents e{w.dim(1), x.dim(2), x.dim(3), conv_extent(x.dim(2), g), conv_extent(x.dim(3), g)};
  const std::int64_t batch = x.dim(0), area = e.height * e.width, out_area = e.out_height * e.out_width;
  const std::int64_t group_out = out / g.groups, window = e.channels * g.kernel * g.kernel;
  const bool pointwise = g.kernel == 1 && g.stride == 1 && g.pad == 0,
             depthwise = e.channels == 1 && group_out == 1;

  Tensor y = Tensor::uninitialized({batch, out, e.out_height, e.out_width});
  for (std::int64_t i = 0; i < batch * out; ++i)
    std::fill_n(y.data() + i * out_area, out_area, b ? (*b)[i % out] : 0);
  Tensor columns = pointwise || depthwise ? Tensor() : Tensor::uninitialized({window, out_area});
  for (std::int64_t i = 0; i < batch * g.groups; ++i) {
    const std::int64_t group = i % g.groups;
    const real* src = x.data() + i * e.channels * area;
    const real* wei = w.data() + group * group_out * window;
    real* dst = y.data() + i * group_out * out_area;
    if (depthwise) {
      depthwise_plane(src, wei, dst, e, g);
      continue;
    }
    if (!pointwise) im2col(src, columns.data(), e, g);
    gemm({.m = group_out, .n = out_area, .k = window, .accumulate = true}, wei,
         pointwise ? src : columns.data(), dst);
  }
  return y;
}

}  // namespace qhv
