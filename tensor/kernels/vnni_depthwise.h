// A part of integer_vnni.cpp: 3x3 depthwise convolutions.
#pragma once

#include "tensor/kernels/vnni_lanes.h"

/// Four vectors of 64 bytes as quads: vector i has in its 128 bits number l those of bytes 16 l + 4 i and on.
struct Quads {
  __m512i part[4];
};

Quads interleaved(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i low = _mm512_unpacklo_epi8(a, b), high = _mm512_unpackhi_epi8(a, b),
                low2 = _mm512_unpacklo_epi8(c, d), high2 = _mm512_unpackhi_epi8(c, d);
  return {{_mm512_unpacklo_epi16(low, low2), _mm512_unpackhi_epi16(low, low2),
           _mm512_unpacklo_epi16(high, high2), _mm512_unpackhi_epi16(high, high2)}};
}

/// From that order to 64 numbers one behind the other.
void store_in_order(const __m512i* x, __mmask64 mask, std::int32_t* dst) {
  const __m512i a = _mm512_shuffle_i32x4(x[0], x[1], 0x44), b = _mm512_shuffle_i32x4(x[2], x[3], 0x44),
                c = _mm512_shuffle_i32x4(x[0], x[1], 0xee), d = _mm512_shuffle_i32x4(x[2], x[3], 0xee);
  const __m512i y[4] = {_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd),
                        _mm512_shuffle_i32x4(c, d, 0x88), _mm512_shuffle_i32x4(c, d, 0xdd)};
  for (int i = 0; i < 4; ++i) {
    if (mask == ~__mmask64{0})
      _mm512_storeu_si512(dst + 16 * i, y[i]);
    else
      _mm512_mask_storeu_epi32(dst + 16 * i, __mmask16(mask >> (16 * i)), y[i]);
  }
}

/// 64 channels of one pixel: nine taps are three quads, the last of them with zeros.
template <bool kHasZero>
void depthwise_row(const IntegerDepthwiseTask& t, std::int64_t y, std::int64_t x_begin, std::int64_t x_end,
                   std::int32_t* sums) {
  const __m512i none = _mm512_setzero_si512(), ones = _mm512_set1_epi8(1);
  for (std::int64_t c = 0; c < t.channels; c += kBytes) {
    const __mmask64 mask = first_bytes(t.channels - c);
    __m512i w[9];
    for (int k = 0; k < 9; ++k) w[k] = _mm512_maskz_loadu_epi8(mask, t.weights + k * t.channels + c);
    const Quads weights[3] = {interleaved(w[0], w[1], w[2], w[3]), interleaved(w[4], w[5], w[6], w[7]),
                              interleaved(w[8], none, none, none)};
    __m512i weight_zero[4];
    if (kHasZero) {
      std::int32_t zeros[kBytes] = {};
      for (std::int64_t i = 0; i < kBytes && c + i < t.channels; ++i) zeros[i] = t.weight_zero[c + i];
      for (int i = 0; i < 4; ++i)
        for (int l = 0; l < 4; ++l)
          std::memcpy(reinterpret_cast<std::int32_t*>(&weight_zero[i]) + 4 * l, zeros + 16 * l + 4 * i, 16);
    }
    for (std::int64_t x = x_begin; x < x_end; ++x) {
      const std::int64_t iy = y * t.stride - 1, ix = x * t.stride - 1;
      const bool inside = iy >= 0 && iy + 2 < t.height && ix >= 0 && ix + 2 < t.width;
      const std::uint8_t* src = t.src + (iy * t.width + ix) * t.channels + c;
      __m512i tap[9];
#pragma GCC unroll 9
      for (int k = 0; k < 9; ++k)
        tap[k] = _mm512_maskz_loadu_epi8(
            mask, inside ? src + (k / 3 * t.width + k % 3) * t.channels : tap_of(t, y, x, k) + c);
      const Quads taps[3] = {interleaved(tap[0], tap[1], tap[2], tap[3]),
                             interleaved(tap[4], tap[5], tap[6], tap[7]),
                             interleaved(tap[8], none, none, none)};
      __m512i acc[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        acc[i] = none;
#pragma GCC unroll 3
        for (int q = 0; q < 3; ++q) acc[i] = _mm512_dpbusd_epi32(acc[i], taps[q].part[i], weights[q].part[i]);
        if (!kHasZero) continue;
        __m512i codes = none;
#pragma GCC unroll 3
        for (int q = 0; q < 3; ++q) codes = _mm512_dpbusd_epi32(codes, taps[q].part[i], ones);
        acc[i] = _mm512_sub_epi32(acc[i], _mm512_mullo_epi32(codes, weight_zero[i]));
      }
      store_in_order(acc, mask, sums + (x - x_begin) * t.channels + c);
    }
  }
}

void depthwise(const IntegerDepthwiseTask& t, std::int64_t y, std::int64_t x_begin, std::int64_t x_end,
               std::int32_t* sums) {
  if (t.weight_zero) return depthwise_row<true>(t, y, x_begin, x_end, sums);
  depthwise_row<false>(t, y, x_begin, x_end, sums);
}
