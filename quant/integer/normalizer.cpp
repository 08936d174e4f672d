#include "quant/integer/normalizer.h"

#include <cassert>

namespace qhv {
namespace {

__extension__ typedef __int128 Wide;

/// numerator / denominator to the nearest integer, ties up.
std::int64_t divide(Wide numerator, Wide denominator) {
  const Wide twice = 2 * numerator + denominator, floor = twice / (2 * denominator);
  return std::int64_t(floor - (twice < 0 && floor * 2 * denominator != twice));
}

}  // namespace

std::uint64_t integer_root(std::uint64_t x) {
  // Two bits of x make one of the root (the method of schools, in base 2).
  std::uint64_t root = 0, rest = x;
  for (std::uint64_t bit = std::uint64_t{1} << 62; bit; bit >>= 2) {
    if (rest >= root + bit) {
      rest -= root + bit;
      root = (root >> 1) + bit;
    } else {
      root >>= 1;
    }
  }
  return root;
}

Normalizer normalizer(const Moments& moments, std::int64_t count, std::int64_t eps) {
  assert(count > 0 && eps > 0);
  Normalizer n;
  n.mean = std::int32_t(divide(Wide(moments.sum) * 256, count));
  const Wide deviations =
      Wide(count) * moments.squares - Wide(moments.sum) * moments.sum;  // count^2 variance
  const std::int64_t variance =
      divide(deviations << 16, Wide(count) * count) + eps;  // of 256 times the codes
  // The root of variance * 4^e has 31 bits, and so has its inverse.
  int e = 0;
  auto scaled = std::uint64_t(variance);
  while (scaled < (std::uint64_t{1} << 60)) {
    scaled <<= 2;
    ++e;
  }
  n.inverse = std::int32_t(((std::uint64_t{1} << 61) - 1) / integer_root(scaled));
  n.shift = 45 - e;
  return n;
}

}  // namespace qhv
