#include "quant/integer/normalizer.h"

#include <bit>
#include <cassert>

namespace qhv {
namespace {

__extension__ typedef __int128 Wide;

/// numerator / denominator to the nearest integer, ties up.
template <typename Integer>
std::int64_t divide(Integer numerator, Integer denominator) {
  const Integer twice = 2 * numerator + denominator, floor = twice / (2 * denominator);
  return std::int64_t(floor - (twice < 0 && floor * 2 * denominator != twice));
}

/// count^2 times the variance in units of 2^-16, divided by count^2.
template <typename Integer>
std::int64_t variance(const Moments& m, std::int64_t count) {
  const Integer deviations = Integer(count) * m.squares - Integer(m.sum) * m.sum;
  return divide<Integer>(deviations << 16, Integer(count) * count);
}

}  // namespace

std::uint64_t integer_root(std::uint64_t x) {
  if (x < 2) return x;
  // Newton's steps from above the root decrease until they are at it.
  std::uint64_t root = std::uint64_t{1} << ((std::bit_width(x) + 1) / 2);
  for (;;) {
    const std::uint64_t next = (root + x / root) / 2;
    if (next >= root) return root;
    root = next;
  }
}

Normalizer normalizer(const Moments& moments, std::int64_t count, std::int64_t eps) {
  assert(count > 0 && eps > 0);
  Normalizer n;
  n.mean = std::int32_t(divide<std::int64_t>(moments.sum * 256, count));
  // n^2 2^30 times 2^17 fits 64 bits for the rows of all networks here, not for maps.
  constexpr std::int64_t kShort = 255;
  const std::int64_t spread =
      (count <= kShort ? variance<std::int64_t>(moments, count) : variance<Wide>(moments, count)) + eps;
  // The root of variance * 4^e has 31 bits, and so has its inverse.
  const int e = (62 - std::bit_width(std::uint64_t(spread))) / 2;
  const std::uint64_t scaled = std::uint64_t(spread) << (2 * e);
  n.inverse = std::int32_t(((std::uint64_t{1} << 61) - 1) / integer_root(scaled));
  n.shift = 45 - e;
  return n;
}

}  // namespace qhv
