// Affine quantisation, in the one form used everywhere:
//
//   q = clip(round(x / scale) + zero_point, qmin, qmax)        x^ = scale * (q - zero_point)
//
// Ties round to even. Symmetric means zero_point 0 and codes -(2^(b-1)-1) .. 2^(b-1)-1, so that +1 and -1
// have codes of the same size; affine means codes 0 .. 2^b-1. Ranges are extended to include zero: then the
// zero point is itself a code and zero padding is exact.
//
// Zero-point overflow (Q-HyViT, arXiv 2303.12557, section 3.3): of a range [lo, hi] with lo > 0 the zero
// point -lo / scale is negative, no code; clamped to 0 it shifts all values by lo. The mirror case is hi < 0.
// Methods that take ranges as they are seen (ZeroRange::kAsSeen) suffer it; overflows() counts it.
//
// Decisions: a range of zero width (a dead channel) gets scale 1, which keeps zeros exact; a range that is
// not finite is the caller's error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace qhv {

struct QParams {
  std::vector<float> scale;              // one, or one for each `group` indices of `axis`
  std::vector<std::int32_t> zero_point;  // as many
  int axis = -1;                         // -1: per tensor
  std::int32_t qmin = 0, qmax = 255;
  int group = 1;  // consecutive indices of the axis that share parameters

  bool operator==(const QParams&) const = default;
};

/// Extent of the values of a tensor or channel. Empty (lo > hi) until something is observed.
struct Range {
  double lo = 1, hi = -1;
  bool empty() const { return lo > hi; }
};

enum class ZeroRange {
  kInclude,  // extend to zero
  kAsSeen    // as it is; a zero point that is no code is clamped
};

/// "symmetric" or "affine"; "tensor", "channel" or "group".
const char* scheme_name(const QParams& q);
const char* granularity_name(const QParams& q);
/// The number of bits that the codes need.
int bit_width(const QParams& q);

/// Parameters from one range (per tensor) or one for each `group` indices of `axis`. bits from 2 to 8, or 16.
QParams symmetric_params(const std::vector<Range>& ranges, int bits, int axis = -1, int group = 1);
QParams affine_params(const std::vector<Range>& ranges, int bits, int axis = -1, int group = 1,
                      ZeroRange zero = ZeroRange::kInclude);

/// How many of the ranges have, taken as they are, an affine zero point that is no code.
int overflows(const std::vector<Range>& ranges, int bits);

/// Throws std::invalid_argument unless the scales are positive and finite, the zero points are codes, and
/// their number fits a tensor of this shape.
void validate(const QParams& q, const Shape& shape, const std::string& name);

/// round(x / scale) clipped to low .. high, which are integers below 2^22: clipped first, so that adding and
/// subtracting 1.5 * 2^23 (2^52 in double) rounds to the nearest integer, ties to even, without a call.
inline real nearest_code(real x, real scale, real low, real high) {
  constexpr real kRound = sizeof(real) == 4 ? real(12582912.0) : real(6755399441055744.0);
  real v = x / scale;
  v = v < low ? low : v;
  v = v > high ? high : v;
  return (v + kRound) - kRound;
}

/// Elements of a tensor that lie together and share parameters: stretch i has those of index i modulo their
/// number.
std::int64_t stretch_size(const Shape& shape, const QParams& q);

/// The codes of x, and their values.
TensorI32 quantize(const Tensor& x, const QParams& q);
Tensor dequantize(const TensorI32& codes, const QParams& q);

/// dequantize(quantize(x)) in one pass. NaN stays NaN.
Tensor fake_quantize(const Tensor& x, const QParams& q);

/// The same for rows whose channels lie side by side, x [rows, channels] to y, which may be x. `head`: all of
/// x belongs to this index of the axis; without it (-1) parameters are by channel, or there is one set.
void fake_quantize_rows(const QParams& q, const real* x, real* y, std::int64_t rows, std::int64_t channels,
                        std::int64_t head = -1);

/// The same for one value with the parameters of channel `c`.
double fake_quantize(double x, const QParams& q, std::size_t c = 0);

}  // namespace qhv
