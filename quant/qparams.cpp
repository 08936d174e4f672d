#include "quant/qparams.h"

#include <cmath>
#include <limits>

#include "tensor/vectorize.h"

namespace qhv {
namespace {

QHV_VECTORIZE void fake_quantize_into(const real* src, real* dst, std::int64_t count, real scale, real low,
                                      real high) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = scale * nearest_code(src[i], scale, low, high);
}

QHV_VECTORIZE void fake_quantize_row(const real* src, real* dst, std::int64_t channels, const float* scale,
                                     const std::int32_t* zero_point, std::int32_t qmin, std::int32_t qmax) {
  for (std::int64_t c = 0; c < channels; ++c)
    dst[c] = real(scale[c]) *
             nearest_code(src[c], real(scale[c]), real(qmin - zero_point[c]), real(qmax - zero_point[c]));
}

/// Calls body(index of the parameters, first element, count) for each stretch of x that shares parameters.
template <typename Body>
void for_each_stretch(const Shape& shape, const QParams& q, Body body) {
  const std::int64_t inner = stretch_size(shape, q), count = element_count(shape);
  for (std::int64_t i = 0; i * inner < count; ++i) body(std::size_t(i) % q.scale.size(), i * inner, inner);
}

void check_bits(int bits) {
  require((bits >= 2 && bits <= 8) || bits == 16, "quantize", bits, " bits (2 to 8 and 16 are possible)");
}

/// Scale of a range of this width over this many steps; see the decisions in the header.
float scale_of(double width, int steps) {
  const float scale = float(width / steps);
  return scale >= std::numeric_limits<float>::min() ? scale : 1.0f;
}

Range checked(Range range) {
  require(!range.empty() && std::isfinite(range.lo) && std::isfinite(range.hi), "quantize", "range ",
          range.lo, " .. ", range.hi);
  return range;
}

}  // namespace

std::int64_t stretch_size(const Shape& shape, const QParams& q) {
  return inner_count(shape, q.axis) * (q.axis < 0 ? 1 : q.group);
}

const char* scheme_name(const QParams& q) {
  if (q.qmin >= 0) return "affine";
  for (const std::int32_t z : q.zero_point)
    if (z != 0) return "affine";
  return "symmetric";
}

const char* granularity_name(const QParams& q) {
  return q.axis < 0 ? "tensor" : q.group == 1 ? "channel" : "group";
}

int bit_width(const QParams& q) {
  int bits = 1;
  while ((std::int64_t{1} << bits) <= std::int64_t(q.qmax) - q.qmin) ++bits;
  return bits;
}

QParams symmetric_params(const std::vector<Range>& ranges, int bits, int axis, int group) {
  check_bits(bits);
  const int top = (1 << (bits - 1)) - 1;
  QParams q{{}, {}, axis, -top, top, group};
  for (const Range& r : ranges) {
    checked(r);
    q.scale.push_back(scale_of(std::max(std::abs(r.lo), std::abs(r.hi)), top));
    q.zero_point.push_back(0);
  }
  return q;
}

QParams affine_params(const std::vector<Range>& ranges, int bits, int axis, int group, ZeroRange zero) {
  check_bits(bits);
  const int top = (1 << bits) - 1;
  QParams q{{}, {}, axis, 0, top, group};
  for (const Range& r : ranges) {
    checked(r);
    const bool include = zero == ZeroRange::kInclude;
    const double lo = include ? std::min(r.lo, 0.0) : r.lo, hi = include ? std::max(r.hi, 0.0) : r.hi;
    const float scale = scale_of(hi - lo, top);
    q.scale.push_back(scale);
    q.zero_point.push_back(std::int32_t(std::nearbyint(std::clamp(-lo / scale, 0.0, double(top)))));
  }
  return q;
}

int overflows(const std::vector<Range>& ranges, int bits) {
  check_bits(bits);
  const int top = (1 << bits) - 1;
  int count = 0;
  for (const Range& r : ranges) {
    checked(r);
    const double zero_point = std::nearbyint(-r.lo / double(scale_of(r.hi - r.lo, top)));
    count += zero_point < 0 || zero_point > top;
  }
  return count;
}

void validate(const QParams& q, const Shape& shape, const std::string& name) {
  require(q.axis >= -1 && q.axis < int(shape.size()), name, "quantisation axis ", q.axis, " of shape ",
          shape);
  const std::int64_t extent = q.axis < 0 ? 1 : shape[std::size_t(q.axis)];
  require(q.group >= 1 && extent % q.group == 0, name, "groups of ", q.group, " in ", extent, " channels");
  const std::size_t count = std::size_t(extent / q.group);
  require(q.scale.size() == count && q.zero_point.size() == count, name, q.scale.size(), " scales and ",
          q.zero_point.size(), " zero points for ", count, " channels");
  const std::int64_t steps = std::int64_t(q.qmax) - q.qmin;
  const bool narrow = q.qmin >= -128 && q.qmax <= 255 && steps <= 255;
  const bool wide = q.qmin >= -32768 && q.qmax <= 65535 && steps <= 65535;
  require(steps > 0 && (narrow || wide), name, "codes ", q.qmin, " .. ", q.qmax);
  for (std::size_t c = 0; c < count; ++c) {
    require(std::isfinite(q.scale[c]) && q.scale[c] > 0, name, "scale ", q.scale[c]);
    require(q.zero_point[c] >= q.qmin && q.zero_point[c] <= q.qmax, name, "zero point ", q.zero_point[c],
            " outside of the codes ", q.qmin, " .. ", q.qmax);
  }
}

TensorI32 quantize(const Tensor& x, const QParams& q) {
  validate(q, x.shape(), "quantize");
  TensorI32 codes = TensorI32::uninitialized(x.shape());
  for_each_stretch(x.shape(), q, [&](std::size_t c, std::int64_t first, std::int64_t count) {
    const std::int32_t z = q.zero_point[c];
    for (std::int64_t i = first; i < first + count; ++i) {
      require(!std::isnan(x[i]), "quantize", "NaN at element ", i);
      codes[i] = std::int32_t(nearest_code(x[i], real(q.scale[c]), real(q.qmin - z), real(q.qmax - z))) + z;
    }
  });
  return codes;
}

Tensor dequantize(const TensorI32& codes, const QParams& q) {
  validate(q, codes.shape(), "dequantize");
  Tensor x = Tensor::uninitialized(codes.shape());
  for_each_stretch(x.shape(), q, [&](std::size_t c, std::int64_t first, std::int64_t count) {
    for (std::int64_t i = first; i < first + count; ++i)
      x[i] = real(q.scale[c]) * real(codes[i] - q.zero_point[c]);
  });
  return x;
}

Tensor fake_quantize(const Tensor& x, const QParams& q) {
  validate(q, x.shape(), "fake_quantize");
  Tensor y = Tensor::uninitialized(x.shape());
  for_each_stretch(x.shape(), q, [&](std::size_t c, std::int64_t first, std::int64_t count) {
    const real scale = real(q.scale[c]), low = real(q.qmin - q.zero_point[c]),
               high = real(q.qmax - q.zero_point[c]);
    fake_quantize_into(x.data() + first, y.data() + first, count, scale, low, high);
  });
  return y;
}

void fake_quantize_rows(const QParams& q, const real* x, real* y, std::int64_t rows, std::int64_t channels,
                        std::int64_t head) {
  const std::int64_t count = std::ssize(q.scale);
  require(count == 1 || (head < 0 ? count == channels && q.group == 1 : head < count), "fake_quantize", count,
          " scales for ", channels, " channels, head ", head);
  if (count == 1 || head >= 0) {
    const std::size_t c = count == 1 ? 0 : std::size_t(head);
    return fake_quantize_into(x, y, rows * channels, real(q.scale[c]), real(q.qmin - q.zero_point[c]),
                              real(q.qmax - q.zero_point[c]));
  }
  for (std::int64_t row = 0; row < rows; ++row, x += channels, y += channels)
    fake_quantize_row(x, y, channels, q.scale.data(), q.zero_point.data(), q.qmin, q.qmax);
}

double fake_quantize(double x, const QParams& q, std::size_t c) {
  const double low = q.qmin - q.zero_point[c], high = q.qmax - q.zero_point[c];
  return double(q.scale[c]) * std::nearbyint(std::clamp(x / double(q.scale[c]), low, high));
}

}  // namespace qhv
