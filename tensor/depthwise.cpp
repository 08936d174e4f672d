// A map is copied between zeros first, its rows and columns dealt to `stride` phases: tap k reads padded
// column o * stride + k, which is element o + k / stride of phase k % stride. In a phase a tap is a mere
// shift, so that loops have neither borders nor gaps; where no row or column but the shift differs, one loop
// serves all taps.
#include "tensor/depthwise.h"

#include <algorithm>
#include <vector>

#include "tensor/loops.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

/// What of a phase lies on the map: `count` elements from `first` on, which are every stride-th row or column
/// from `start` on.
struct Phase {
  std::int64_t first, count, start;
};
Phase phase_of(std::int64_t phase, std::int64_t size, const ConvGeometry& g) {
  const std::int64_t first = (g.pad - phase + g.stride - 1) / g.stride;
  const std::int64_t start = first * g.stride + phase - g.pad;
  return {first, std::max<std::int64_t>(0, (size - start + g.stride - 1) / g.stride), start};
}

/// Taps that lie before a phase's first element, and elements of a phase that the map or a window reaches.
std::int64_t phase_margin(const ConvGeometry& g) { return (g.kernel - 1) / g.stride; }
std::int64_t phase_length(std::int64_t size, std::int64_t out, const ConvGeometry& g) {
  return std::max((size - 1 + g.pad) / g.stride + 1, out + phase_margin(g));
}

/// Taps of a row or column of the window that read a phase.
std::int64_t phase_taps(std::int64_t phase, const ConvGeometry& g) {
  return (g.kernel - phase + g.stride - 1) / g.stride;
}

/// Every stride-th element of a row; and back, where what begins at each column is a row of src. Compilers
/// vectorise a stride that they know.
QHV_VECTORIZE void gather(const real* src, real* dst, std::int64_t count, std::int64_t stride) {
  if (stride == 2)
    for (std::int64_t i = 0; i < count; ++i) dst[i] = src[2 * i];
  else
    for (std::int64_t i = 0; i < count; ++i) dst[i] = src[i * stride];
}
QHV_VECTORIZE void scatter(const real* src, std::int64_t pitch, real* dst, std::int64_t width,
                           std::int64_t stride) {
  const real* odd = src + pitch;
  if (stride == 2)
    for (std::int64_t i = 0; i < width / 2; ++i) {
      dst[2 * i] = src[i];
      dst[2 * i + 1] = odd[i];
    }
  for (std::int64_t i = stride == 2 ? width / 2 * 2 : 0; i < width; ++i)
    dst[i] = src[i % stride * pitch + i / stride];
}

/// Maps [H, W] between zeros: [rows * stride][stride phases][length].
class PaddedMap {
 public:
  PaddedMap(const ConvSizes& s, const ConvGeometry& g)
      : s_(s),
        g_(g),
        length_(phase_length(s.width, s.out_width, g)),
        data_(std::size_t(phase_length(s.height, s.out_height, g) * g.stride * row_step())) {}

  const real* data() const { return data_.data(); }
  /// Of the output: the row of the window's first tap.
  PlaneRows rows() const { return {s_.out_height, s_.out_width, row_step() * g_.stride, s_.out_width}; }

  void set(const real* map) {
    if (g_.stride == 1)
      return copy_rows(map, data_.data() + g_.pad * (length_ + 1), {s_.height, s_.width, s_.width, length_});
    for (std::int64_t y = 0; y < s_.height; ++y)
      for (std::int64_t phase = 0; phase < g_.stride; ++phase) {
        const Phase p = phase_of(phase, s_.width, g_);
        gather(map + y * s_.width + p.start,
               data_.data() + (y + g_.pad) * row_step() + phase * length_ + p.first, p.count, g_.stride);
      }
  }

  /// The taps of a channel's window, row by row.
  std::vector<Tap<real>> taps(const real* w) const {
    std::vector<Tap<real>> taps;
    for (std::int64_t ky = 0; ky < g_.kernel; ++ky)
      for (std::int64_t kx = 0; kx < g_.kernel; ++kx)
        taps.push_back({ky * row_step() + kx % g_.stride * length_ + kx / g_.stride, w[ky * g_.kernel + kx]});
    return taps;
  }

 private:
  std::int64_t row_step() const { return length_ * g_.stride; }

  const ConvSizes& s_;
  const ConvGeometry& g_;
  std::int64_t length_;
  std::vector<real> data_;
};

/// Gradients [H', W'] of outputs between zeros, and the rule by which they reach the phases of the map.
class PaddedGradient {
 public:
  PaddedGradient(const ConvSizes& s, const ConvGeometry& g)
      : s_(s),
        g_(g),
        pitch_(phase_margin(g) + phase_length(s.width, s.out_width, g)),
        data_(std::size_t((phase_margin(g) + phase_length(s.height, s.out_height, g)) * pitch_)),
        phases_(std::size_t(g.stride > 1 ? g.stride * s.width : 0)) {}

  void set(const real* dy) {
    copy_rows(dy, data_.data() + origin(), {s_.out_height, s_.out_width, s_.out_width, pitch_});
  }

  /// To dx [H, W], w [k, k].
  void carry(const real* w, real* dx) {
    for (std::int64_t py = 0; py < g_.stride; ++py) {
      const Phase y = phase_of(py, s_.height, g_);
      std::vector<std::vector<Tap<real>>> taps;
      for (std::int64_t px = 0; px < g_.stride; ++px) taps.push_back(taps_of(py, px, w));
      const real* src = data_.data() + origin() + y.first * pitch_;
      real* dst = dx + y.start * s_.width;
      if (g_.stride == 1) {
        weigh_taps(src + phase_of(0, s_.width, g_).first, taps[0], 0, dst,
                   {y.count, s_.width, pitch_, s_.width});
        continue;
      }
      for (std::int64_t row = 0; row < y.count; ++row, src += pitch_, dst += g_.stride * s_.width) {
        for (std::int64_t px = 0; px < g_.stride; ++px) {
          const Phase x = phase_of(px, s_.width, g_);
          weigh_taps(src + x.first, taps[std::size_t(px)], 0, phases_.data() + x.start * s_.width,
                     {1, x.count, 0, 0});
        }
        scatter(phases_.data(), s_.width, dst, s_.width, g_.stride);
      }
    }
  }

 private:
  std::int64_t origin() const { return phase_margin(g_) * (pitch_ + 1); }
  std::vector<Tap<real>> taps_of(std::int64_t py, std::int64_t px, const real* w) const {
    std::vector<Tap<real>> taps;
    for (std::int64_t ty = 0; ty < phase_taps(py, g_); ++ty)
      for (std::int64_t tx = 0; tx < phase_taps(px, g_); ++tx)
        taps.push_back({-ty * pitch_ - tx, w[(py + ty * g_.stride) * g_.kernel + px + tx * g_.stride]});
    return taps;
  }

  const ConvSizes& s_;
  const ConvGeometry& g_;
  std::int64_t pitch_;
  std::vector<real> data_, phases_;
};

}  // namespace

void depthwise(const Tensor& x, const Tensor& w, const Tensor* b, Tensor& y, const ConvSizes& s,
               const ConvGeometry& g) {
  PaddedMap map(s, g);
  for (std::int64_t i = 0; i < s.batch * g.groups; ++i) {
    const std::int64_t c = i % g.groups;
    map.set(x.data() + i * s.area);
    weigh_taps(map.data(), map.taps(w.data() + c * s.window), b ? (*b)[c] : 0, y.data() + i * s.out_area,
               map.rows());
  }
}

void depthwise_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, const ConvSizes& s,
                              const ConvGeometry& g) {
  PaddedGradient gradient(s, g);
  for (std::int64_t i = 0; i < s.batch * g.groups; ++i) {
    gradient.set(dy.data() + i * s.out_area);
    gradient.carry(w.data() + i % g.groups * s.window, dx.data() + i * s.area);
  }
}

void depthwise_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, const ConvSizes& s,
                               const ConvGeometry& g) {
  PaddedMap map(s, g);
  std::vector<double> sums(std::size_t(s.window));
  const std::vector<Tap<real>> taps = map.taps(dw.data());  // of which only the offsets count
  for (std::int64_t c = 0; c < g.groups; ++c) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (std::int64_t i = c; i < s.batch * g.groups; i += g.groups) {
      map.set(x.data() + i * s.area);
      add_products(dy.data() + i * s.out_area, map.data(), taps, sums.data(), map.rows());
    }
    std::copy(sums.begin(), sums.end(), dw.data() + c * s.window);
  }
}

}  // namespace qhv
