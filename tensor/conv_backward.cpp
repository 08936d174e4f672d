// The adjoints of the convolution, in the same three ways as conv.cpp, and in float a fourth one: by
// Winograd's tiles where they suit. The convolution itself keeps to the direct sum, which is exact for codes.
#include <algorithm>

#include "tensor/conv_windows.h"
#include "tensor/depthwise.h"
#include "tensor/gemm.h"
#include "tensor/loops.h"
#include "tensor/winograd.h"

namespace qhv {
namespace {

/// The adjoint of im2col: columns [C * k * k, rows of the strip * W'] added to dst [C, H, W].
void col2im(const real* columns, real* dst, Strip rows, const ConvSizes& s, const ConvGeometry& g) {
  for (std::int64_t c = 0; c < s.channels; ++c, dst += s.area)
    for (std::int64_t ky = 0; ky < g.kernel; ++ky)
      for (std::int64_t kx = 0; kx < g.kernel; ++kx, columns += (rows.end - rows.begin) * s.out_width) {
        const Strip inside = valid_rows(ky, rows, s, g);
        const std::int64_t offset = kx - g.pad;
        const ColumnRange range = valid_columns(offset, g.stride, s.width, s.out_width);
        const real* src = columns + (inside.begin - rows.begin) * s.out_width;
        real* row = dst + (inside.begin * g.stride + ky - g.pad) * s.width + offset;
        if (g.stride == 1) {
          add_rows(src + range.begin, row + range.begin,
                   {inside.end - inside.begin, range.end - range.begin, s.out_width, s.width});
          continue;
        }
        for (std::int64_t oy = inside.begin; oy < inside.end;
             ++oy, src += s.out_width, row += g.stride * s.width)
          for (std::int64_t ox = range.begin; ox < range.end; ++ox) row[ox * g.stride] += src[ox];
      }
}

ConvSizes backward_sizes(const char* op, const Shape& dy, const Shape& x, const Shape& w,
                         const ConvGeometry& g) {
  const ConvSizes s = conv_sizes(op, x, w, g);
  require(dy == Shape{s.batch, s.group_out * g.groups, s.out_height, s.out_width}, op, "gradient ", dy,
          " for input ", x, " and weight ", w);
  return s;
}

}  // namespace

Tensor conv2d_backward_input(const Tensor& dy, const Tensor& w, const Shape& x_shape, const ConvGeometry& g) {
  const ConvSizes s = backward_sizes("conv2d_backward_input", dy.shape(), x_shape, w.shape(), g);
#ifndef QHV_DOUBLE
  if (suits_winograd(g, s.channels, s.group_out, s.height, s.width)) {
    Tensor dx = Tensor::uninitialized(x_shape);
    winograd_backward_input(dy, w, dx, s);
    return dx;
  }
#endif
  const bool gathered = !s.pointwise && !s.depthwise;
  Tensor dx = gathered ? Tensor(x_shape) : Tensor::uninitialized(x_shape);
  if (s.depthwise) {
    depthwise_backward_input(dy, w, dx, s, g);
    return dx;
  }
  const std::int64_t rows = strip_rows(s);
  Tensor columns = gathered ? Tensor::uninitialized({s.window, rows * s.out_width}) : Tensor();
  for (std::int64_t i = 0; i < s.batch * g.groups; ++i) {
    const real* wei = w.data() + i % g.groups * s.group_out * s.window;
    const real* src = dy.data() + i * s.group_out * s.out_area;
    real* dst = dx.data() + i * s.channels * s.area;
    for (Strip strip{0, 0}; strip.begin < s.out_height; strip.begin = strip.end) {
      strip.end = std::min(s.out_height, strip.begin + rows);
      gemm({.m = s.window,
            .n = (strip.end - strip.begin) * s.out_width,
            .k = s.group_out,
            .transpose_a = true,
            .b_stride = s.out_area},
           wei, src + strip.begin * s.out_width, gathered ? columns.data() : dst);
      if (gathered) col2im(columns.data(), dst, strip, s, g);
    }
  }
  return dx;
}

Tensor conv2d_backward_weight(const Tensor& dy, const Tensor& x, const ConvGeometry& g) {
  const char* op = "conv2d_backward_weight";
  validate(g, op);
  require(dy.rank() == 4 && x.rank() == 4, op, "gradient ", dy.shape(), " for input ", x.shape());
  const Shape w_shape{dy.dim(1), x.dim(1) / g.groups, g.kernel, g.kernel};
  const ConvSizes s = backward_sizes(op, dy.shape(), x.shape(), w_shape, g);
  Tensor dw(w_shape);
  if (s.depthwise) {
    depthwise_backward_weight(dy, x, dw, s, g);
    return dw;
  }
#ifndef QHV_DOUBLE
  if (suits_winograd(g, s.channels, s.group_out, s.height, s.width)) {
    winograd_backward_weight(dy, x, dw, s);
    return dw;
  }
#endif
  const std::int64_t rows = strip_rows(s);
  Tensor columns = s.pointwise ? Tensor() : Tensor::uninitialized({s.window, rows * s.out_width});
  for (std::int64_t i = 0; i < s.batch * g.groups; ++i) {
    const real* src = x.data() + i * s.channels * s.area;
    for (Strip strip{0, 0}; strip.begin < s.out_height; strip.begin = strip.end) {
      strip.end = std::min(s.out_height, strip.begin + rows);
      if (!s.pointwise) im2col(src, columns.data(), strip, s, g);
      gemm({.m = s.group_out,
            .n = s.window,
            .k = (strip.end - strip.begin) * s.out_width,
            .transpose_b = true,
            .accumulate = true,
            .a_stride = s.out_area},
           dy.data() + i * s.group_out * s.out_area + strip.begin * s.out_width,
           s.pointwise ? src : columns.data(), dw.data() + i % g.groups * s.group_out * s.window);
    }
  }
  return dw;
}

Tensor conv2d_backward_bias(const Tensor& dy) {
  require(dy.rank() == 4, "conv2d_backward_bias", "gradient ", dy.shape());
  const std::int64_t out = dy.dim(1), area = dy.dim(2) * dy.dim(3);
  Tensor db = Tensor::uninitialized({out});
  for (std::int64_t o = 0; o < out; ++o) {
    double gradient = 0;
    for (std::int64_t n = 0; n < dy.dim(0); ++n) gradient += sum_of(dy.data() + (n * out + o) * area, area);
    db[o] = real(gradient);
  }
  return db;
}

}  // namespace qhv
