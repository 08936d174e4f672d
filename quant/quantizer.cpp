#include "quant/quantizer.h"

#include <algorithm>
#include <cmath>

namespace qhv {
namespace {

/// One visitor from lambdas.
template <typename... Cases>
struct Match : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Match(Cases...) -> Match<Cases...>;

real twin(real x, const TwinUniform& q) {
  const bool low = x < q.split;
  const real scale = low ? real(q.low_scale) : real(q.high_scale),
             codes = real(low ? q.low_codes : q.high_codes);
  return scale * std::clamp(std::nearbyint(x / scale), -codes, codes);
}

real nearest_power(real x, const LogUniform& q) {
  if (std::isnan(x)) return x;
  if (!(x > 0)) return 0;
  const double code =
      std::max(0.0, std::nearbyint(-std::log2(double(x) / double(q.scale)) * q.steps_per_octave));
  if (code >= q.last) return 0;
  return real(double(q.scale) * std::exp2(-code / q.steps_per_octave));
}

template <typename Function>
Tensor map(const Tensor& x, Function function) {
  Tensor y = Tensor::uninitialized(x.shape());
  std::transform(x.data(), x.data() + x.size(), y.data(), function);
  return y;
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
  return std::visit(
      Match{[&](const Unquantized&) { return x; }, [&](const QParams& p) { return fake_quantize(x, p); },
            [&](const TwinUniform& p) { return map(x, [&](real v) { return twin(v, p); }); },
            [&](const LogUniform& p) { return map(x, [&](real v) { return nearest_power(v, p); }); }},
      q);
}

double saturated_share(const Tensor& x, const Quantizer& q) {
  const QParams* params = std::get_if<QParams>(&q);
  if (!params || x.size() == 0) return 0;
  std::int64_t inner = 1;
  for (int i = std::max(params->axis, -1) + 1; params->axis >= 0 && i < x.rank(); ++i) inner *= x.dim(i);
  if (params->axis < 0) inner = x.size();
  const std::int64_t period = std::int64_t(params->scale.size()) * params->group;
  std::int64_t outside = 0;
  for (std::int64_t row = 0; row < x.size() / inner; ++row) {
    const std::size_t c = std::size_t(row % period / params->group);
    const real scale = real(params->scale[c]);
    const real low = (real(params->qmin - params->zero_point[c]) - real(0.5)) * scale,
               high = (real(params->qmax - params->zero_point[c]) + real(0.5)) * scale;
    for (std::int64_t i = row * inner; i < (row + 1) * inner; ++i) outside += x[i] < low || x[i] > high;
  }
  return double(outside) / double(x.size());
}

}  // namespace qhv
