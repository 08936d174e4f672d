// The adjoints of the convolution, in the same three ways as conv.cpp.
//
// Depthwise, the columns of a map are dealt to `stride` phases: tap kx reads padded column ox * stride + kx,
// which is element ox + kx / stride of phase kx % stride. In a phase a tap is a mere shift, so that loops
// over a row have neither gaps nor, with zeros around it, borders.
#include <algorithm>
#include <vector>

#include "tensor/conv_windows.h"
#include "tensor/gemm.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

/// What of a phase lies on the map: `count` elements from `first` on, which are every stride-th column from
/// `column` on.
struct Phase {
  std::int64_t first, count, column;
};
Phase phase_of(std::int64_t phase, const ConvSizes& s, const ConvGeometry& g) {
  const std::int64_t first = (g.pad - phase + g.stride - 1) / g.stride;
  const std::int64_t column = first * g.stride + phase - g.pad;
  return {first, std::max<std::int64_t>(0, (s.width - column + g.stride - 1) / g.stride), column};
}

/// Taps that lie left of a phase's first element, and elements of a phase that the map or a window reaches.
std::int64_t phase_margin(const ConvGeometry& g) { return (g.kernel - 1) / g.stride; }
std::int64_t phase_length(const ConvSizes& s, const ConvGeometry& g) {
  return std::max((s.width - 1 + g.pad) / g.stride + 1, s.out_width + phase_margin(g));
}

/// The row of dy that tap row ky of row iy of the map belongs to, or -1.
std::int64_t output_row(std::int64_t iy, std::int64_t ky, const ConvSizes& s, const ConvGeometry& g) {
  const std::int64_t reach = iy + g.pad - ky;
  return reach >= 0 && reach % g.stride == 0 && reach / g.stride < s.out_height ? reach / g.stride : -1;
}

/// out[i] += w[0] * src[i] + w[step] * src[i - 1] + ... for `Taps` taps: out is read and written once for
/// all.
template <int Taps>
inline void add_taps(const real* src, const real* w, std::int64_t step, real* out, std::int64_t count) {
  real factor[Taps];
  for (int t = 0; t < Taps; ++t) factor[t] = w[t * step];
  for (std::int64_t i = 0; i < count; ++i) {
    real value = out[i];
    for (int t = 0; t < Taps; ++t) value += factor[t] * src[i - t];
    out[i] = value;
  }
}

/// One channel: dy [H', pitch] with zeros around its rows, w [k, k] -> dx [H, W].
QHV_VECTORIZE void depthwise_input_plane(const real* dy, std::int64_t pitch, const real* w, real* dx,
                                         const ConvSizes& s, const ConvGeometry& g) {
  std::vector<real> strided(std::size_t(g.stride > 1 ? s.width : 0));
  for (std::int64_t iy = 0; iy < s.height; ++iy)
    for (std::int64_t phase = 0; phase < g.stride; ++phase) {
      const Phase p = phase_of(phase, s, g);
      const std::int64_t taps = (g.kernel - phase + g.stride - 1) / g.stride;
      real* row = dx + iy * s.width;
      real* out = g.stride > 1 ? strided.data() : row;
      std::fill_n(out, p.count, real(0));
      for (std::int64_t ky = 0; ky < g.kernel; ++ky) {
        const std::int64_t oy = output_row(iy, ky, s, g);
        if (oy < 0) continue;
        const real* src = dy + oy * pitch + phase_margin(g) + p.first;
        const real* wei = w + ky * g.kernel + phase;
        std::int64_t tap = 0;
        for (; tap + 2 < taps; tap += 3) add_taps<3>(src - tap, wei + tap * g.stride, g.stride, out, p.count);
        for (; tap < taps; ++tap) add_taps<1>(src - tap, wei + tap * g.stride, g.stride, out, p.count);
      }
      for (std::int64_t i = 0; g.stride > 1 && i < p.count; ++i) row[p.column + i * g.stride] = out[i];
    }
}

/// One channel: dy [H', W'], x [H, W] -> added to `columns` [k, k, W'], for each tap the sum of each column's
/// products. `phases` holds a row of x, and zeros around it.
QHV_VECTORIZE void depthwise_weight_plane(const real* dy, const real* x, double* columns, double* phases,
                                          const ConvSizes& s, const ConvGeometry& g) {
  const std::int64_t length = phase_length(s, g);
  for (std::int64_t iy = 0; iy < s.height; ++iy) {
    for (std::int64_t phase = 0; phase < g.stride; ++phase) {
      const Phase p = phase_of(phase, s, g);
      const real* row = x + iy * s.width + p.column;
      double* dst = phases + phase * length + p.first;
      for (std::int64_t i = 0; i < p.count; ++i) dst[i] = row[i * g.stride];
    }
    for (std::int64_t ky = 0; ky < g.kernel; ++ky) {
      const std::int64_t oy = output_row(iy, ky, s, g);
      if (oy < 0) continue;
      const real* row = dy + oy * s.out_width;
      for (std::int64_t kx = 0; kx < g.kernel; ++kx) {
        const double* tap = phases + kx % g.stride * length + kx / g.stride;
        double* out = columns + (ky * g.kernel + kx) * s.out_width;
        for (std::int64_t ox = 0; ox < s.out_width; ++ox) out[ox] += row[ox] * tap[ox];
      }
    }
  }
}

/// dy and w -> dx, with rows of dy copied between zeros.
void depthwise_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, const ConvSizes& s,
                              const ConvGeometry& g) {
  const std::int64_t pitch = phase_margin(g) + phase_length(s, g);
  std::vector<real> padded(std::size_t(s.out_height * pitch));
  for (std::int64_t i = 0; i < s.batch * g.groups; ++i) {
    for (std::int64_t oy = 0; oy < s.out_height; ++oy)
      std::copy_n(dy.data() + i * s.out_area + oy * s.out_width, s.out_width,
                  padded.data() + oy * pitch + phase_margin(g));
    depthwise_input_plane(padded.data(), pitch, w.data() + i % g.groups * s.window, dx.data() + i * s.area, s,
                          g);
  }
}

Tensor depthwise_backward_weight(const Tensor& dy, const Tensor& x, const ConvSizes& s,
                                 const ConvGeometry& g) {
  Tensor dw = Tensor::uninitialized({g.groups, 1, g.kernel, g.kernel});
  std::vector<double> phases(std::size_t(g.stride * phase_length(s, g))),
      columns(std::size_t(s.window * s.out_width));
  for (std::int64_t c = 0; c < g.groups; ++c) {
    std::fill(columns.begin(), columns.end(), 0.0);
    for (std::int64_t i = c; i < s.batch * g.groups; i += g.groups)
      depthwise_weight_plane(dy.data() + i * s.out_area, x.data() + i * s.area, columns.data(), phases.data(),
                             s, g);
    for (std::int64_t tap = 0; tap < s.window; ++tap) {
      const double* of_tap = columns.data() + tap * s.out_width;
      dw[c * s.window + tap] = real(sum(s.out_width, [of_tap](std::int64_t ox) { return of_tap[ox]; }));
    }
  }
  return dw;
}

/// The adjoint of im2col: columns [C * k * k, H' * W'] added to dst [C, H, W].
QHV_VECTORIZE void col2im(const real* columns, real* dst, const ConvSizes& s, const ConvGeometry& g) {
  for (std::int64_t c = 0; c < s.channels; ++c)
    for (std::int64_t ky = 0; ky < g.kernel; ++ky)
      for (std::int64_t kx = 0; kx < g.kernel; ++kx)
        for (std::int64_t oy = 0; oy < s.out_height; ++oy, columns += s.out_width) {
          const std::int64_t iy = oy * g.stride + ky - g.pad, offset = kx - g.pad;
          if (iy < 0 || iy >= s.height) continue;
          const ColumnRange range = valid_columns(offset, g.stride, s.width, s.out_width);
          real* row = dst + (c * s.height + iy) * s.width + offset;
          if (g.stride == 1)
            for (std::int64_t ox = range.begin; ox < range.end; ++ox) row[ox] += columns[ox];
          else
            for (std::int64_t ox = range.begin; ox < range.end; ++ox) row[ox * g.stride] += columns[ox];
        }
}

QHV_VECTORIZE double total(const real* x, std::int64_t count) {
  return sum(count, [x](std::int64_t i) { return double(x[i]); });
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
  const bool gathered = !s.pointwise && !s.depthwise;
  Tensor dx = gathered ? Tensor(x_shape) : Tensor::uninitialized(x_shape);
  if (s.depthwise) {
    depthwise_backward_input(dy, w, dx, s, g);
    return dx;
  }
  Tensor columns = gathered ? Tensor::uninitialized({s.window, s.out_area}) : Tensor();
  for (std::int64_t i = 0; i < s.batch * g.groups; ++i) {
    const real* wei = w.data() + i % g.groups * s.group_out * s.window;
    const real* src = dy.data() + i * s.group_out * s.out_area;
    real* dst = dx.data() + i * s.channels * s.area;
    gemm({.m = s.window, .n = s.out_area, .k = s.group_out, .transpose_a = true}, wei, src,
         gathered ? columns.data() : dst);
    if (gathered) col2im(columns.data(), dst, s, g);
  }
  return dx;
}

Tensor conv2d_backward_weight(const Tensor& dy, const Tensor& x, const ConvGeometry& g) {
  const char* op = "conv2d_backward_weight";
  validate(g, op);
  require(dy.rank() == 4 && x.rank() == 4, op, "gradient ", dy.shape(), " for input ", x.shape());
  const Shape w_shape{dy.dim(1), x.dim(1) / g.groups, g.kernel, g.kernel};
  const ConvSizes s = backward_sizes(op, dy.shape(), x.shape(), w_shape, g);
  if (s.depthwise) return depthwise_backward_weight(dy, x, s, g);
  Tensor dw(w_shape);
  Tensor columns = s.pointwise ? Tensor() : Tensor::uninitialized({s.window, s.out_area});
  for (std::int64_t i = 0; i < s.batch * g.groups; ++i) {
    const real* src = x.data() + i * s.channels * s.area;
    if (!s.pointwise) im2col(src, columns.data(), s, g);
    gemm({.m = s.group_out, .n = s.window, .k = s.out_area, .transpose_b = true, .accumulate = true},
         dy.data() + i * s.group_out * s.out_area, s.pointwise ? src : columns.data(),
         dw.data() + i % g.groups * s.group_out * s.window);
  }
  return dw;
}

Tensor conv2d_backward_bias(const Tensor& dy) {
  require(dy.rank() == 4, "conv2d_backward_bias", "gradient ", dy.shape());
  const std::int64_t out = dy.dim(1), area = dy.dim(2) * dy.dim(3);
  Tensor db = Tensor::uninitialized({out});
  for (std::int64_t o = 0; o < out; ++o) {
    double gradient = 0;
    for (std::int64_t n = 0; n < dy.dim(0); ++n) gradient += total(dy.data() + (n * out + o) * area, area);
    db[o] = real(gradient);
  }
  return db;
}

}  // namespace qhv
