#include "quant/integer/encoding.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace qhv {

std::int64_t code_size(CodeType type) { return type == CodeType::kU8 ? 1 : type == CodeType::kI16 ? 2 : 4; }

Encoding Encoding::slice(std::int64_t first, std::int64_t count) const {
  const auto part = [&](const auto& v) {
    return std::decay_t<decltype(v)>(v.begin() + first, v.begin() + first + count);
  };
  return {type, part(scale), part(zero), part(lo), part(hi)};
}

void Encoding::append(const Encoding& other) {
  require(type == other.type, "encoding", "columns of different types");
  const auto extend = [](auto& v, const auto& more) { v.insert(v.end(), more.begin(), more.end()); };
  extend(scale, other.scale);
  extend(zero, other.zero);
  extend(lo, other.lo);
  extend(hi, other.hi);
}

bool Encoding::is_uniform() const {
  const auto constant = [](const auto& v) {
    return std::ranges::all_of(v, [&](const auto& x) { return x == v.front(); });
  };
  return constant(scale) && constant(zero) && constant(lo) && constant(hi);
}

Encoding encoding_of(const QParams& q, std::int64_t columns, const std::string& where) {
  const std::int64_t sets = std::int64_t(q.scale.size());
  require(sets >= 1 && columns % sets == 0, where, sets, " sets of parameters for ", columns, " columns");
  const std::int64_t steps = std::int64_t(q.qmax) - q.qmin;
  require(steps <= 255 || bit_width(q) == 16, where, bit_width(q), "-bit codes");
  const bool wide = steps > 255;
  const std::int32_t first = wide ? std::numeric_limits<std::int16_t>::min() : 0, shift = first - q.qmin;
  Encoding e{wide ? CodeType::kI16 : CodeType::kU8, {}, {}, {}, {}};
  for (std::int64_t c = 0; c < columns; ++c) {
    const auto i = std::size_t(c / (columns / sets));
    e.scale.push_back(double(q.scale[i]));
    e.zero.push_back(q.zero_point[i] + shift);
    e.lo.push_back(first);
    e.hi.push_back(q.qmax + shift);
  }
  return e;
}

Encoding logits_encoding(std::int64_t columns, int bits) {
  const auto n = std::size_t(columns);
  return {CodeType::kI32, std::vector<double>(n, std::ldexp(1.0, -bits)), std::vector<std::int32_t>(n, 0),
          std::vector<std::int32_t>(n, std::numeric_limits<std::int32_t>::min()),
          std::vector<std::int32_t>(n, std::numeric_limits<std::int32_t>::max())};
}

}  // namespace qhv
