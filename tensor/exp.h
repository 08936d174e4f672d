// exp for the activations. The float version has no branch, call or table, so compilers turn a loop over it
// into vector code, and it gives the same bits on every machine; std::exp does neither.
//
//   exp(x) = 2^n * exp(r),  n = round(x / ln 2),  r = x - n ln 2 in [-0.347, 0.347]
//
// exp(r) is its Taylor polynomial of degree 7, whose remainder is below 0.347^8 / 8! * 1.42 = 7.5e-9: an
// eighth of float's half ulp. ln 2 is split in two so that n * kLn2High is exact. Measured over every float
// in the range: error below 1.22 ulp (tests/test_ops.cpp). Arguments are clamped to [-87, 88]: the result is
// then normal and finite; NaN stays NaN.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace qhv {

inline double exp_real(double x) { return std::exp(x); }

inline float exp_real(float x) {
  constexpr float kShift =
      12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits
  constexpr float kInvLn2 = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * kInvLn2 + kShift;
  const float n = shifted - kShift;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const std::uint32_t exponent =
      (std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(kShift) + 127) << 23;
  return p * std::bit_cast<float>(exponent);
}

}  // namespace qhv
