// A part of integer_vnni.cpp: softmax, normalisation, and what attention packs.
#pragma once

#include "tensor/kernels/vnni_tables.h"

/// Two bytes of each exponential are looked up apart; unpacking them gives words in an order that packing
/// undoes.
struct Exponents {
  ByteTable lower, higher;

  explicit Exponents(const std::uint16_t* exponents) {
    std::uint8_t bytes[2][256];
    for (int i = 0; i < 256; ++i) {
      bytes[0][i] = std::uint8_t(exponents[i]);
      bytes[1][i] = std::uint8_t(exponents[i] >> 8);
    }
    lower = ByteTable(bytes[0]);
    higher = ByteTable(bytes[1]);
  }

  struct Words {
    __m512i low, high;
  };
  /// Of the lanes of the mask, zero in others.
  Words at(__m512i distance, __mmask64 mask) const {
    const __mmask64 upper = _mm512_movepi8_mask(distance);
    const __m512i b0 = _mm512_maskz_mov_epi8(mask, lower.at(distance, upper)),
                  b1 = _mm512_maskz_mov_epi8(mask, higher.at(distance, upper));
    return {_mm512_unpacklo_epi8(b0, b1), _mm512_unpackhi_epi8(b0, b1)};
  }
};

/// In all lanes.
__m512i largest_byte(__m512i x) {
  __m256i half = _mm256_max_epu8(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
  __m128i m = _mm_max_epu8(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  m = _mm_max_epu8(m, _mm_srli_si128(m, 8));
  m = _mm_max_epu8(m, _mm_srli_si128(m, 4));
  m = _mm_max_epu8(m, _mm_srli_si128(m, 2));
  m = _mm_max_epu8(m, _mm_srli_si128(m, 1));
  return _mm512_broadcastb_epi8(m);
}

/// Exponentials that are kept between sum and division; those behind them are looked up again.
constexpr std::int64_t kKeptVectors = 16;

void softmax_row(const SoftmaxTask& t, const Exponents& exponents, const std::uint8_t* codes,
                 std::int64_t count, std::uint8_t* dst) {
  const auto mask_at = [&](std::int64_t i) { return first_bytes(count - i); };
  __m512i most = _mm512_setzero_si512();
  for (std::int64_t i = 0; i < count; i += kBytes)
    most = _mm512_max_epu8(most, _mm512_maskz_loadu_epi8(mask_at(i), codes + i));
  const __m512i from = largest_byte(most);

  const auto exponents_at = [&](std::int64_t i) {  // zero behind the end
    const __mmask64 mask = mask_at(i);
    return exponents.at(_mm512_sub_epi8(from, _mm512_maskz_loadu_epi8(mask, codes + i)), mask);
  };
  Exponents::Words kept[kKeptVectors];
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i sums = _mm512_setzero_si512();
  for (std::int64_t i = 0; i < count; i += kBytes) {
    const Exponents::Words e = exponents_at(i);
    if (i < kKeptVectors * kBytes) kept[i / kBytes] = e;
    sums = _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(sums, e.low, ones), e.high, ones);
  }
  const SoftmaxFactor r = softmax_factor(t, std::uint64_t(_mm512_reduce_add_epi32(sums)));

  const __m512i factor = _mm512_set1_epi16(std::int16_t(r.factor)),
                half = _mm512_set1_epi32(std::int32_t(std::uint32_t{1} << (r.shift - 1))),
                most_code = _mm512_set1_epi16(255), zero = _mm512_set1_epi16(std::int16_t(t.zero)),
                lo = _mm512_set1_epi16(std::int16_t(t.lo)), hi = _mm512_set1_epi16(std::int16_t(t.hi));
  const __m128i shift = _mm_cvtsi32_si128(r.shift);
  const auto codes_of = [&](__m512i e) {
    const __m512i low = _mm512_mullo_epi16(e, factor), high = _mm512_mulhi_epu16(e, factor);
    const __m512i a = _mm512_srl_epi32(_mm512_add_epi32(_mm512_unpacklo_epi16(low, high), half), shift),
                  b = _mm512_srl_epi32(_mm512_add_epi32(_mm512_unpackhi_epi16(low, high), half), shift);
    const __m512i p = _mm512_add_epi16(_mm512_min_epu16(_mm512_packus_epi32(a, b), most_code), zero);
    return _mm512_min_epi16(_mm512_max_epi16(p, lo), hi);
  };
  for (std::int64_t i = 0; i < count; i += kBytes) {
    const Exponents::Words e = i < kKeptVectors * kBytes ? kept[i / kBytes] : exponents_at(i);
    const __m512i result = _mm512_packus_epi16(codes_of(e.low), codes_of(e.high));
    _mm512_mask_storeu_epi8(dst + i, mask_at(i), result);
  }
}

void softmax(const SoftmaxTask& t, const std::uint8_t* codes, std::int64_t codes_stride, std::int64_t rows,
             std::int64_t columns, std::uint8_t* dst, std::int64_t dst_stride) {
  const Exponents exponents(t.exponents);
  for (std::int64_t row = 0; row < rows; ++row)
    softmax_row(t, exponents, codes + row * codes_stride, columns, dst + row * dst_stride);
}

void normalize(const std::int16_t* src, std::int64_t count, std::int32_t mean, std::int32_t inverse,
               int shift, std::int32_t* dst) {
  const __m512i m = _mm512_set1_epi32(mean), factor = _mm512_set1_epi64(inverse),
                half = _mm512_set1_epi64(std::int64_t{1} << (shift - 1));
  const __m128i by = _mm_cvtsi32_si128(shift);
  for (std::int64_t c = 0; c < count; c += kLanes) {
    const __mmask16 mask = first_lanes(count - c);
    const __m512i x = _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask, src + c)),
                  d = _mm512_sub_epi32(_mm512_slli_epi32(x, 8), m);
    const __m512i even = _mm512_sra_epi64(_mm512_add_epi64(_mm512_mul_epi32(d, factor), half), by),
                  odd = _mm512_sra_epi64(
                      _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(d, 32), factor), half), by);
    _mm512_mask_storeu_epi32(dst + c, mask,
                             _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32)));
  }
}

std::int64_t sum_of_lanes(__m512i x) {
  std::int64_t lanes[8], sum = 0;
  _mm512_storeu_si512(lanes, x);
  for (const std::int64_t lane : lanes) sum += lane;
  return sum;
}

void moments(const std::int16_t* src, std::int64_t count, std::int64_t* sum, std::int64_t* squares) {
  const __m512i ones = _mm512_set1_epi16(1), low = _mm512_set1_epi64(0xffffffff);
  __m512i s = _mm512_setzero_si512(), q = s;
  for (std::int64_t c = 0; c < count; c += 32) {
    const __m512i x = _mm512_maskz_loadu_epi16(first_words(count - c), src + c);
    // Two squares of -32768 make 2^31, which is a number without sign.
    const __m512i pairs = _mm512_madd_epi16(x, x), pair_sums = _mm512_madd_epi16(x, ones);
    q = _mm512_add_epi64(q, _mm512_add_epi64(_mm512_and_si512(pairs, low), _mm512_srli_epi64(pairs, 32)));
    s = _mm512_add_epi64(s, _mm512_add_epi64(_mm512_srai_epi64(_mm512_slli_epi64(pair_sums, 32), 32),
                                             _mm512_srai_epi64(pair_sums, 32)));
  }
  *sum += sum_of_lanes(s);
  *squares += sum_of_lanes(q);
}

std::int32_t row_sum(const std::uint8_t* codes, std::int64_t count) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i s = _mm512_setzero_si512();
  for (std::int64_t c = 0; c < count; c += 64) {
    const __mmask64 mask = first_bytes(count - c);
    s = _mm512_dpbusd_epi32(s, _mm512_maskz_loadu_epi8(mask, codes + c), ones);
  }
  return _mm512_reduce_add_epi32(s);
}

void pack_rows(const std::uint8_t* src, const std::int32_t* offsets, std::int64_t rows, std::int64_t size,
               std::int8_t* dst, std::int32_t* sums) {
  const std::int64_t quads = (size + kQuad - 1) / kQuad;
  const int rest = int(size % kQuad);
  const std::uint32_t kept = rest ? (1u << (8 * rest)) - 1 : ~0u;  // of the last quad
  for (std::int64_t first = 0; first < rows; first += kPanelColumns) {
    const __mmask16 mask = first_lanes(rows - first);
    const __m512i at = _mm512_maskz_loadu_epi32(mask, offsets + first);
    __m512i sum = _mm512_setzero_si512();
    for (std::int64_t q = 0; q < quads; ++q, dst += kPanelQuad) {
      __m512i x = _mm512_mask_i32gather_epi32(_mm512_set1_epi8(-128), mask, at, src + q * kQuad, 1);
      x = _mm512_xor_si512(x, _mm512_set1_epi8(-128));
      if (q + 1 == quads) x = _mm512_and_si512(x, _mm512_set1_epi32(int(kept)));
      x = _mm512_maskz_mov_epi32(mask, x);
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), x);
      _mm512_storeu_si512(dst, x);
    }
    _mm512_mask_storeu_epi32(sums + first, mask, sum);
  }
}

void pack_columns(const std::uint8_t* src, const std::int32_t* offsets, std::int64_t rows, std::int64_t size,
                  std::int8_t* dst, std::int32_t* sums) {
  // From 4 rows of 16 bytes, one behind the other, to 16 columns of 4.
  const __m512i order = _mm512_set_epi32(
      0x3f2f1f0f, 0x3e2e1e0e, 0x3d2d1d0d, 0x3c2c1c0c, 0x3b2b1b0b, 0x3a2a1a0a, 0x39291909, 0x38281808,
      0x37271707, 0x36261606, 0x35251505, 0x34241404, 0x33231303, 0x32221202, 0x31211101, 0x30201000);
  const __m128i flip = _mm_set1_epi8(-128);
  for (std::int64_t c = 0; c < size; c += kPanelColumns) {
    const __mmask16 mask = first_lanes(size - c);
    __m512i sum = _mm512_setzero_si512();
    for (std::int64_t r = 0; r < rows; r += kQuad, dst += kPanelQuad) {
      __m128i part[kQuad];
      for (std::int64_t i = 0; i < kQuad; ++i)
        part[i] = r + i < rows
                      ? _mm_maskz_mov_epi8(
                            mask, _mm_xor_si128(flip, _mm_maskz_loadu_epi8(mask, src + offsets[r + i] + c)))
                      : _mm_setzero_si128();
      __m512i x = _mm512_castsi128_si512(part[0]);
      x = _mm512_inserti32x4(x, part[1], 1);
      x = _mm512_inserti32x4(x, part[2], 2);
      x = _mm512_permutexvar_epi8(order, _mm512_inserti32x4(x, part[3], 3));
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), x);
      _mm512_storeu_si512(dst, x);
    }
    _mm512_mask_storeu_epi32(sums + c, mask, sum);
  }
}
