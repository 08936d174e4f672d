// Numbers from bytes and back. Files are little-endian; the numbers are put together by shifts, so nothing
// here depends on the byte order or the alignment rules of the machine, and no test on a big-endian one is
// needed.
//
//   half      1 sign, 5 exponent, 10 fraction bits: (-1)^s 2^(e-15) (1 + f/1024); e = 0 means
//             (-1)^s f 2^-24 (subnormal), e = 31 infinity or NaN
//   bfloat16  the upper 16 bits of a float
//
// Both are subsets of float, so decoding is exact. Encoding rounds to the nearest, ties to even, once: it
// starts from double, of which float is a subset. Source: IEEE 754-2019, sections 3.4 and 4.3.1.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace qhv {

static_assert(std::numeric_limits<float>::is_iec559 && std::numeric_limits<double>::is_iec559);

template <std::unsigned_integral UInt>
UInt load_le(const std::byte* src) {
  UInt value = 0;
  for (std::size_t i = 0; i < sizeof(UInt); ++i) value = UInt(value | UInt(src[i]) << (8 * i));
  return value;
}

template <std::unsigned_integral UInt>
void store_le(std::byte* dst, UInt value) {
  for (std::size_t i = 0; i < sizeof(UInt); ++i) dst[i] = std::byte(value >> (8 * i) & 0xff);
}

inline float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t(half & 0x8000) << 16;
  const std::uint32_t exponent = half >> 10 & 31;
  const std::uint32_t fraction = half & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f80'0000 | fraction << 13);
  if (exponent == 0) {
    const float magnitude = float(fraction) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 127 - 15) << 23 | fraction << 13);
}

/// Values beyond the largest half, 65504, that do not round to it become infinite. NaN stays NaN, quiet.
inline std::uint16_t double_to_half(double value) {
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(value);
  const std::uint32_t sign = std::uint32_t(bits >> 48) & 0x8000;
  if (std::isnan(value)) return std::uint16_t(sign | 0x7e00);
  // The place of the last bit: 2^(e-10), but not below the subnormals' 2^-24. Counted in it, the value is
  // below 2048; a count of 2048 after rounding carries into the exponent by itself.
  const int e = std::clamp(int(bits >> 52 & 0x7ff) - 1023, -14, 16);
  const double count =
      std::nearbyint(std::abs(value) * std::bit_cast<double>(std::uint64_t(1023 + 10 - e) << 52));
  const double half = double((e + 14) << 10) + count;
  return std::uint16_t(sign | std::uint32_t(std::min(half, double(0x7c00))));
}

inline float bfloat16_to_float(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t(bits) << 16); }

}  // namespace qhv
