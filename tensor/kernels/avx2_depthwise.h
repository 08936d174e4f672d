// A part of the integer kernels for AVX2 and those beside it: 3x3 depthwise convolutions. Two taps side by
// side are a pair of 16-bit numbers, whose products vpmaddwd adds: the ninth tap's other half is zero.
#pragma once

#include "tensor/kernels/integer_rows.h"

constexpr int kTapPairs = 5, kDepthwiseChannels = 16;

/// The taps of a pair, side by side in 16 bits: of channels 0 to 7 and 8 to 15.
struct TapPair {
  __m256i low, high;
};

/// Of codes.
TapPair pair_of_codes(const std::uint8_t* first, const std::uint8_t* second) {
  const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first)),
                b = second ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(second)) : _mm_setzero_si128();
  return {_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b)), _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b))};
}

/// Of weights less their zero points, for channels from c on; taps past the ninth are zero.
TapPair pair_of_weights(const IntegerDepthwiseTask& t, int tap, std::int64_t c) {
  alignas(32) std::int16_t pairs[2 * kDepthwiseChannels];
  for (int i = 0; i < kDepthwiseChannels; ++i)
    for (int k = 0; k < 2; ++k)
      pairs[2 * i + k] = tap + k < 9 ? std::int16_t(t.weights[(tap + k) * t.channels + c + i] -
                                                    (t.weight_zero ? t.weight_zero[c + i] : 0))
                                     : std::int16_t(0);
  return {_mm256_load_si256(reinterpret_cast<const __m256i*>(pairs)),
          _mm256_load_si256(reinterpret_cast<const __m256i*>(pairs + kDepthwiseChannels))};
}

/// 16 channels from c on.
void depthwise_channels(const IntegerDepthwiseTask& t, std::int64_t c, std::int64_t y, std::int64_t x_begin,
                        std::int64_t x_end, std::int32_t* sums) {
  TapPair weights[kTapPairs];
  for (int p = 0; p < kTapPairs; ++p) weights[p] = pair_of_weights(t, 2 * p, c);
  for (std::int64_t x = x_begin; x < x_end; ++x, sums += t.channels) {
    const std::int64_t iy = y * t.stride - 1, ix = x * t.stride - 1;
    const bool inside = iy >= 0 && iy + 2 < t.height && ix >= 0 && ix + 2 < t.width;
    const std::uint8_t* taps[9];
#pragma GCC unroll 9
    for (int k = 0; k < 9; ++k)
      taps[k] =
          c + (inside ? t.src + ((iy + k / 3) * t.width + ix + k % 3) * t.channels : tap_of(t, y, x, k));
    __m256i low = _mm256_setzero_si256(), high = low;
#pragma GCC unroll 5
    for (int p = 0; p < kTapPairs; ++p) {
      const TapPair codes = pair_of_codes(taps[2 * p], p < 4 ? taps[2 * p + 1] : nullptr);
      low = _mm256_add_epi32(low, _mm256_madd_epi16(codes.low, weights[p].low));
      high = _mm256_add_epi32(high, _mm256_madd_epi16(codes.high, weights[p].high));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + c), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + c + 8), high);
  }
}

/// The last channels overlap those before them.
void depthwise(const IntegerDepthwiseTask& t, std::int64_t y, std::int64_t x_begin, std::int64_t x_end,
               std::int32_t* sums) {
  if (t.channels < kDepthwiseChannels) return depthwise_plain(t, y, x_begin, x_end, sums);
  for (std::int64_t c = 0; c < t.channels; c += kDepthwiseChannels) {
    const std::int64_t last = t.channels - kDepthwiseChannels;
    depthwise_channels(t, c < last ? c : last, y, x_begin, x_end, sums);
  }
}
