#include "quant/quantizer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "tensor/vectorize.h"

namespace qhv {
namespace {

/// One visitor from lambdas.
template <typename... Cases>
struct Match : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Match(Cases...) -> Match<Cases...>;

QHV_VECTORIZE void twin_into(const real* src, real* dst, std::int64_t count, const TwinUniform& q) {
  const real split = q.split, low_scale = q.low_scale, high_scale = q.high_scale, low = real(q.low_codes),
             high = real(q.high_codes);
  for (std::int64_t i = 0; i < count; ++i) {
    const bool is_low = src[i] < split;
    const real scale = is_low ? low_scale : high_scale, codes = is_low ? low : high;
    dst[i] = scale * nearest_code(src[i], scale, -codes, codes);
  }
}

/// The code of x is the power of 2^(-1 / steps) that is nearest to x / scale in the logarithm: read off the
/// exponent, and off the mantissa by the boundaries between neighbours. Codes beyond `last` are `last`; NaN
/// has none.
QHV_VECTORIZE void logarithmic_codes(const real* src, std::int32_t* codes, std::int64_t count,
                                     const LogUniform& q) {
  constexpr std::int32_t kMantissaBits = 23, kBias = 127, kMantissa = (1 << kMantissaBits) - 1;
  const auto mantissa_of = [](double x) { return std::bit_cast<std::int32_t>(float(x)) & kMantissa; };
  const float scale = q.scale;
  const std::int32_t steps = q.steps_per_octave, last = q.last, first = mantissa_of(std::exp2(0.5 / steps)),
                     second = steps == 2 ? mantissa_of(std::exp2(0.75)) : kMantissa;
  for (std::int64_t i = 0; i < count; ++i) {
    const float x = src[i] > 0 ? float(src[i]) / scale : 0;
    const std::int32_t bits = std::bit_cast<std::int32_t>(x), mantissa = bits & kMantissa;
    std::int32_t code = (kBias - (bits >> kMantissaBits)) * steps;
    code -= (mantissa > first ? 1 : 0) + (mantissa > second ? 1 : 0);
    code = code < 0 ? 0 : code;
    codes[i] = code > last ? last : code;
  }
}

void logarithmic_into(const real* src, real* dst, std::int64_t count, const LogUniform& q) {
  constexpr std::int64_t kStrip = 512;
  std::array<std::int32_t, kStrip> codes;
  std::array<real, 257> values{};  // by code; that of `last` is zero
  const double fractions[] = {1, std::exp2(-0.5)};
  for (std::int32_t code = 0; code < q.last; ++code)
    values[std::size_t(code)] = real(
        std::ldexp(double(q.scale) * fractions[code % q.steps_per_octave], -(code / q.steps_per_octave)));
  for (std::int64_t start = 0; start < count; start += kStrip) {
    const std::int64_t width = std::min(kStrip, count - start);
    logarithmic_codes(src + start, codes.data(), width, q);
    for (std::int64_t i = 0; i < width; ++i) {
      const real x = src[start + i];
      dst[start + i] = std::isnan(x) ? x : values[std::size_t(codes[std::size_t(i)])];
    }
  }
}

int half_codes(int bits) {
  require(bits >= 2 && bits <= 8, "quantize", bits, " bits for a twin range (2 to 8 are possible)");
  return 1 << (bits - 1);
}

bool is_scale(float scale) { return std::isfinite(scale) && scale > 0; }

}  // namespace

TwinUniform twin_softmax(float split, int bits) {
  const int codes = half_codes(bits) - 1;
  return {split, split / float(codes), 1 / float(codes), codes, codes};
}

TwinUniform twin_silu(int octaves, int bits) {
  const int codes = half_codes(bits);
  const float low = float(-kSiluMinimum / codes);
  return {0, low, std::ldexp(low, octaves), codes, codes - 1};
}

LogUniform logarithmic(float scale, int steps_per_octave, int bits) {
  require(bits >= 2 && bits <= 8, "quantize", bits, " bits for logarithmic steps (2 to 8 are possible)");
  return {scale, steps_per_octave, (1 << bits) - 1};
}

const QParams& uniform(const Quantizer& q, const std::string& where) {
  const QParams* params = std::get_if<QParams>(&q);
  require(params != nullptr, where, "a uniform quantiser is needed, this one is ", scheme_name(q));
  return *params;
}

const char* scheme_name(const Quantizer& q) {
  return std::visit(
      Match{[](const Unquantized&) { return "float"; }, [](const QParams& p) { return scheme_name(p); },
            [](const TwinUniform&) { return "twin"; },
            [](const LogUniform& p) { return p.steps_per_octave == 1 ? "log2" : "log-sqrt2"; }},
      q);
}

const char* granularity_name(const Quantizer& q) {
  const QParams* params = std::get_if<QParams>(&q);
  return params ? granularity_name(*params) : "tensor";
}

int bit_width(const Quantizer& q) {
  const auto bits_for = [](std::int64_t codes) {
    int bits = 1;
    while ((std::int64_t{1} << bits) < codes) ++bits;
    return bits;
  };
  return std::visit(
      Match{[](const Unquantized&) { return 32; }, [](const QParams& p) { return bit_width(p); },
            [&](const TwinUniform& p) { return bits_for(std::int64_t(p.low_codes) + p.high_codes); },
            [&](const LogUniform& p) { return bits_for(std::int64_t(p.last) + 1); }},
      q);
}

void validate(const Quantizer& q, const Shape& shape, const std::string& name) {
  std::visit(Match{[](const Unquantized&) {}, [&](const QParams& p) { validate(p, shape, name); },
                   [&](const TwinUniform& p) {
                     require(is_scale(p.low_scale) && is_scale(p.high_scale) && std::isfinite(p.split), name,
                             "twin scales ", p.low_scale, " and ", p.high_scale, ", split at ", p.split);
                     require(p.low_codes > 0 && p.low_codes <= 128 && p.high_codes > 0 && p.high_codes <= 128,
                             name, "twin codes ", p.low_codes, " and ", p.high_codes);
                   },
                   [&](const LogUniform& p) {
                     require(is_scale(p.scale), name, "scale ", p.scale);
                     require(p.steps_per_octave == 1 || p.steps_per_octave == 2, name, p.steps_per_octave,
                             " steps in an octave");
                     require(p.last > 0 && p.last <= 255, name, "codes 0 .. ", p.last);
                   }},
             q);
}

Tensor fake_quantize(const Tensor& x, const Quantizer& q) {
  if (std::holds_alternative<Unquantized>(q)) return x;
  if (const QParams* params = std::get_if<QParams>(&q)) return fake_quantize(x, *params);
  Tensor y = Tensor::uninitialized(x.shape());
  fake_quantize_rows(q, x.data(), y.data(), 1, x.size());
  return y;
}

void fake_quantize_rows(const Quantizer& q, const real* x, real* y, std::int64_t rows, std::int64_t channels,
                        std::int64_t head) {
  std::visit(Match{[&](const Unquantized&) { std::copy_n(x, rows * channels, y); },
                   [&](const QParams& p) { fake_quantize_rows(p, x, y, rows, channels, head); },
                   [&](const TwinUniform& p) { twin_into(x, y, rows * channels, p); },
                   [&](const LogUniform& p) { logarithmic_into(x, y, rows * channels, p); }},
             q);
}

double saturated_share(const Tensor& x, const Quantizer& q) {
  const QParams* params = std::get_if<QParams>(&q);
  if (!params || x.size() == 0) return 0;
  const std::int64_t inner = stretch_size(x.shape(), *params);
  std::int64_t outside = 0;
  for (std::int64_t row = 0; row < x.size() / inner; ++row) {
    const std::size_t c = std::size_t(row) % params->scale.size();
    const real scale = real(params->scale[c]);
    const real low = (real(params->qmin - params->zero_point[c]) - real(0.5)) * scale,
               high = (real(params->qmax - params->zero_point[c]) + real(0.5)) * scale;
    for (std::int64_t i = row * inner; i < (row + 1) * inner; ++i) outside += x[i] < low || x[i] > high;
  }
  return double(outside) / double(x.size());
}

}  // namespace qhv
