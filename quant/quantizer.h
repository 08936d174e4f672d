// The quantisers that a plan may hold. Uniform ones (qparams.h) are what integer kernels compute with; the
// others belong to published baselines, whose formulas they reproduce.
//
//   Unquantized  the tensor stays in floating point
//   QParams      x^ = scale * (q - zero_point)
//   TwinUniform  two uniform ranges that share the codes (PTQ4ViT, arXiv 2111.12293, section 3.2)
//   LogUniform   x^ = scale * 2^(-q / steps_per_octave), for values from 0 to `scale`
//                (one step: log2, FQ-ViT, arXiv 2111.13824, equation 12; two: log-sqrt2, RepQ-ViT, arXiv
//                2212.08254, equation 11)
//
// PTQ4ViT's public code adds the two parts of a twin range; here a value belongs to one of them, as in the
// paper. RepQ-ViT's code spends one code more than its bits on zero; here the last code is zero.
#pragma once

#include <variant>

#include "quant/qparams.h"

namespace qhv {

struct Unquantized {
  bool operator==(const Unquantized&) const = default;
};

/// x < split: low_scale * clip(round(x / low_scale), -low_codes, low_codes); otherwise the same with `high`.
/// The sign of the codes is that of the values: softmax has none below zero, SiLU none above zero in its low
/// range.
struct TwinUniform {
  float split = 0, low_scale = 1, high_scale = 1;
  std::int32_t low_codes = 127, high_codes = 127;
  bool operator==(const TwinUniform&) const = default;
};

/// Codes 0 .. last; the last one is the value zero.
struct LogUniform {
  float scale = 1;
  int steps_per_octave = 1;
  std::int32_t last = 255;
  bool operator==(const LogUniform&) const = default;
};

using Quantizer = std::variant<Unquantized, QParams, TwinUniform, LogUniform>;

/// Both ranges with half of the codes of `bits`: [0, split) and [0, 1] for what a softmax puts out.
TwinUniform twin_softmax(float split, int bits);
/// For what SiLU puts out: the low range is [min SiLU, 0), the high one's step is 2^octaves times the low
/// one's.
TwinUniform twin_silu(int octaves, int bits);

/// Codes of `bits` bits for values from 0 to `scale`.
LogUniform logarithmic(float scale, int steps_per_octave, int bits);

/// The smallest value of SiLU, at x = -1.2784645.
inline constexpr double kSiluMinimum = -0.27846454276107379;

/// The uniform parameters. Throws std::invalid_argument, naming `where`, if the quantiser is another.
const QParams& uniform(const Quantizer& q, const std::string& where);

/// "float", "symmetric", "affine", "twin", "log2" or "log-sqrt2".
const char* scheme_name(const Quantizer& q);
/// "tensor", "channel" or "group".
const char* granularity_name(const Quantizer& q);
/// 32 for what is not quantised.
int bit_width(const Quantizer& q);

/// Throws std::invalid_argument unless the parameters are sound and fit a tensor of this shape.
void validate(const Quantizer& q, const Shape& shape, const std::string& name);

/// The values of the codes of x. NaN stays NaN.
Tensor fake_quantize(const Tensor& x, const Quantizer& q);

/// The same for rows, as fake_quantize_rows of qparams.h.
void fake_quantize_rows(const Quantizer& q, const real* x, real* y, std::int64_t rows, std::int64_t channels,
                        std::int64_t head = -1);

/// The share of x that lies outside of what a uniform quantiser can represent, by more than half a step; 0
/// for others.
double saturated_share(const Tensor& x, const Quantizer& q);

}  // namespace qhv
