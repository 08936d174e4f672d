#include "quant/integer/planes.h"

#include <algorithm>
#include <cmath>

#include "tensor/vectorize.h"

namespace qhv {
namespace {

constexpr double kOne = 0x1p30;
constexpr int kLargestShift = 16;

std::uint32_t fixed(double probability) {
  return std::uint32_t(std::llround(std::clamp(probability, 0.0, 2.0) * kOne));
}

/// Intervals with ascending beginnings, of which the last one that begins somewhere counts.
void append(std::vector<PlanedSoftmax::Interval>& intervals, double begin, std::int32_t low,
            std::int32_t high) {
  const std::uint32_t from = fixed(begin);
  if (!intervals.empty() && intervals.back().begin == from) intervals.pop_back();
  intervals.push_back({from, std::uint8_t(low), std::uint8_t(high)});
}

void set_codes(PlanedSoftmax& s, const TwinUniform& q, const std::string& where) {
  s.shift = plane_shift(double(q.high_scale) / double(q.low_scale), where);
  s.unit = double(q.low_scale);
  const double split = double(q.split);
  require(split > 0 && split <= 1, where, "twin ranges of probabilities that meet at ", split);
  for (std::int32_t code = 0; code <= q.low_codes && (code - 0.5) * s.unit < split; ++code)
    append(s.intervals, (code - 0.5) * s.unit, code, 0);
  const double step = double(q.high_scale);
  for (auto code = std::int32_t(std::nearbyint(split / step)); code <= q.high_codes; ++code)
    append(s.intervals, std::max(split, (code - 0.5) * step), 0, code);
}

void set_codes(PlanedSoftmax& s, const LogUniform& q, const std::string&) {
  constexpr double kLargest = 0x1p15;
  s.shift = 8;
  s.unit = double(q.scale) / kLargest;
  append(s.intervals, 0, 0, 0);
  for (std::int32_t code = q.last - 1; code >= 0; --code) {
    const double octaves = double(code) / q.steps_per_octave, half = 0.5 / q.steps_per_octave;
    const auto level = std::int32_t(std::lround(kLargest * std::exp2(-octaves)));
    append(s.intervals, double(q.scale) * std::exp2(-octaves - half), level & 255, level >> 8);
  }
}

template <typename Other>
void set_codes(PlanedSoftmax&, const Other&, const std::string& where) {
  fail(where, "a quantiser of probabilities that is neither twin nor logarithmic");
}

}  // namespace

int plane_shift(double ratio, const std::string& where) {
  const double shift = std::nearbyint(std::log2(ratio));
  require(shift >= 0 && shift <= kLargestShift && std::abs(std::exp2(shift) / ratio - 1) < 1e-5, where,
          "twin ranges whose steps have the ratio ", ratio);
  return int(shift);
}

std::array<Encoding, 2> twin_encodings(const TwinUniform& q, std::int64_t columns, const std::string& where) {
  require(q.split == 0, where, "twin ranges that meet at ", q.split, " instead of zero");
  plane_shift(double(q.high_scale) / double(q.low_scale), where);
  const auto plane = [&](float scale, std::int32_t zero, std::int32_t last) {
    const auto n = std::size_t(columns);
    return Encoding{CodeType::kU8, std::vector<double>(n, double(scale)), std::vector<std::int32_t>(n, zero),
                    std::vector<std::int32_t>(n, 0), std::vector<std::int32_t>(n, last)};
  };
  return {plane(q.low_scale, q.low_codes, q.low_codes), plane(q.high_scale, 0, q.high_codes)};
}

QHV_VECTORIZE void add_plane(const std::int32_t* high, std::int64_t count, int shift, std::int32_t* sums) {
  const std::int32_t unit = 1 << shift;
  for (std::int64_t i = 0; i < count; ++i) sums[i] += high[i] * unit;
}

PlanedSoftmax planed_softmax(const Quantizer& quantizer, double scale, const std::string& where) {
  PlanedSoftmax s;
  for (std::size_t d = 0; d < s.exponents.size(); ++d) s.exponents[d] = fixed(std::exp(-scale * double(d)));
  std::visit([&](const auto& q) { set_codes(s, q, where); }, quantizer);
  return s;
}

void softmax_planes(const PlanedSoftmax& s, const std::uint8_t* codes, std::int64_t count, std::uint8_t* low,
                    std::uint8_t* high) {
  const std::uint8_t largest = *std::max_element(codes, codes + count);
  std::uint64_t sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += s.exponents[std::size_t(largest - codes[i])];
  const std::uint64_t inverse = (std::uint64_t{1} << 62) / sum;  // at most 2^32: the largest exponent is 2^30
  // By distance from the largest: probabilities fall with it, so that all intervals are passed once.
  std::array<const PlanedSoftmax::Interval*, 256> intervals{};
  const PlanedSoftmax::Interval* interval = &s.intervals.back();
  const std::size_t furthest = std::size_t(largest - *std::min_element(codes, codes + count));
  for (std::size_t d = 0; d <= furthest; ++d) {
    const auto p = std::uint32_t((s.exponents[d] * inverse) >> 32);
    while (interval->begin > p) --interval;
    intervals[d] = interval;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    low[i] = intervals[std::size_t(largest - codes[i])]->low;
    high[i] = intervals[std::size_t(largest - codes[i])]->high;
  }
}

}  // namespace qhv
