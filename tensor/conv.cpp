// Convolution three ways, by what the weight looks like: a 1x1 convolution is a matrix product as it stands,
// a depthwise one runs over its taps, and any other gathers its windows (im2col) and is a matrix product
// then.
#include <algorithm>

#include "tensor/conv_windows.h"
#include "tensor/depthwise.h"
#include "tensor/gemm.h"
#include "tensor/loops.h"

namespace qhv {
std::int64_t strip_rows(const ConvSizes& s) {
  constexpr std::int64_t kFloats = 128 << 10;
  if (s.pointwise) return s.out_height;
  return std::clamp<std::int64_t>(kFloats / std::max<std::int64_t>(1, s.window * s.out_width), 1,
                                  s.out_height);
}

Strip valid_rows(std::int64_t ky, Strip rows, const ConvSizes& s, const ConvGeometry& g) {
  const ColumnRange range = valid_columns(ky - g.pad, g.stride, s.height, s.out_height);
  const std::int64_t begin = std::clamp(range.begin, rows.begin, rows.end);
  return {begin, std::clamp(range.end, begin, rows.end)};
}

void im2col(const real* src, real* columns, Strip rows, const ConvSizes& s, const ConvGeometry& g) {
  for (std::int64_t c = 0; c < s.channels; ++c, src += s.area)
    for (std::int64_t ky = 0; ky < g.kernel; ++ky)
      for (std::int64_t kx = 0; kx < g.kernel; ++kx) {
        const Strip inside = valid_rows(ky, rows, s, g);
        const std::int64_t offset = kx - g.pad;
        const ColumnRange range = valid_columns(offset, g.stride, s.width, s.out_width);
        columns = std::fill_n(columns, (inside.begin - rows.begin) * s.out_width, real(0));
        const real* row = src + (inside.begin * g.stride + ky - g.pad) * s.width + offset;
        if (g.stride == 1)
          copy_rows(row + range.begin, columns + range.begin,
                    {inside.end - inside.begin, range.end - range.begin, s.width, s.out_width});
        for (std::int64_t oy = inside.begin; oy < inside.end; ++oy, row += g.stride * s.width) {
          std::fill(columns, columns + range.begin, real(0));
          for (std::int64_t ox = range.begin; ox < range.end && g.stride > 1; ++ox)
            columns[ox] = row[ox * g.stride];
          std::fill(columns + range.end, columns + s.out_width, real(0));
          columns += s.out_width;
        }
        columns = std::fill_n(columns, (rows.end - inside.end) * s.out_width, real(0));
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
  if (s.depthwise) {
    depthwise(x, w, b, y, s, g);
    return y;
  }
  const std::int64_t rows = strip_rows(s);
  Tensor columns = s.pointwise ? Tensor() : Tensor::uninitialized({s.window, rows * s.out_width});
  for (std::int64_t i = 0; i < s.batch * g.groups; ++i) {
    const std::int64_t group = i % g.groups;
    const real* src = x.data() + i * s.channels * s.area;
    for (Strip strip{0, 0}; strip.begin < s.out_height; strip.begin = strip.end) {
      strip.end = std::min(s.out_height, strip.begin + rows);
      if (!s.pointwise) im2col(src, columns.data(), strip, s, g);
      gemm({.m = s.group_out,
            .n = (strip.end - strip.begin) * s.out_width,
            .k = s.window,
            .c_stride = s.out_area,
            .column_bias = b ? b->data() + group * s.group_out : nullptr},
           w.data() + group * s.group_out * s.window, s.pointwise ? src : columns.data(),
           y.data() + i * s.group_out * s.out_area + strip.begin * s.out_width);
    }
  }
  return y;
}

}  // namespace qhv
