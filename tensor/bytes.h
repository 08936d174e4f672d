// Numbers from bytes and back. Files are little-endian; the numbers are put together by shifts, so nothing
// here depends on the byte order or the alignment rules of the machine, and no test on a big-endian one is
// needed.
//
//   half      1 sign, 5 exponent, 10 fraction bits: (-1)^s 2^(e-15) (1 + f/1024); e = 0 means
//             (-1)^s f 2^-24 (subnormal), e = 31 infinity or NaN
//   bfloat16  the upper 16 bits of a float
//
// Both are subsets of float, so decoding is exact. Source: IEEE 754-2019, section 3.4.
#pragma once

#include <bit>
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

inline float bfloat16_to_float(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t(bits) << 16); }

}  // namespace qhv
