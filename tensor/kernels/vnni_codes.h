// A part of integer_vnni.cpp: from sums to codes.
#pragma once

#include "tensor/kernels/vnni_lanes.h"

/// What 16 columns need, with the 64-bit numbers of even and odd lanes apart.
struct Columns {
  __m512i multiplier, odd_multiplier, even_offset, odd_offset;
};

Columns columns_of(const RequantizeTask& t, std::int64_t c, __mmask16 mask) {
  const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0),
                odd = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
  const __m512i low = _mm512_maskz_loadu_epi64(__mmask8(mask), t.offset + c),
                high = _mm512_maskz_loadu_epi64(__mmask8(mask >> 8), t.offset + c + 8);
  const __m512i multiplier = _mm512_maskz_loadu_epi32(mask, t.multiplier + c);
  return {multiplier, _mm512_srli_epi64(multiplier, 32), _mm512_permutex2var_epi64(low, even, high),
          _mm512_permutex2var_epi64(low, odd, high)};
}

/// Shifts results and puts even and odd lanes together. By 32 bits the upper half of a product is the result.
template <bool kBy32>
__m512i join_lanes(__m512i even, __m512i odd, __m128i shift) {
  if (kBy32) return _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
  return _mm512_mask_blend_epi32(0xaaaa, _mm512_sra_epi64(even, shift),
                                 _mm512_slli_epi64(_mm512_sra_epi64(odd, shift), 32));
}

/// (x * multiplier + offset) >> shift in 16 lanes.
template <bool kBy32>
__m512i rescaled(__m512i x, const Columns& k, __m128i shift) {
  return join_lanes<kBy32>(
      _mm512_add_epi64(_mm512_mul_epi32(x, k.multiplier), k.even_offset),
      _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(x, 32), k.odd_multiplier), k.odd_offset), shift);
}

/// (x * multiplier + a * m + offset) >> shift
__m512i rescaled_sum(__m512i x, __m512i a, __m512i m, const Columns& k, __m128i shift) {
  const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(x, k.multiplier), _mm512_mul_epi32(a, m)),
                odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(x, 32), k.odd_multiplier),
                                       _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(m, 32)));
  return join_lanes<false>(_mm512_add_epi64(even, k.even_offset), _mm512_add_epi64(odd, k.odd_offset), shift);
}

void store_codes(std::uint8_t* dst, __mmask16 mask, __m512i codes) {
  if (mask == 0xffff) return _mm_storeu_si128(reinterpret_cast<__m128i*>(dst), _mm512_cvtepi32_epi8(codes));
  _mm_mask_storeu_epi8(dst, mask, _mm512_cvtepi32_epi8(codes));
}
void store_codes(std::int16_t* dst, __mmask16 mask, __m512i codes) {
  if (mask == 0xffff)
    return _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst), _mm512_cvtepi32_epi16(codes));
  _mm256_mask_storeu_epi16(dst, mask, _mm512_cvtepi32_epi16(codes));
}
void store_codes(std::int32_t* dst, __mmask16 mask, __m512i codes) {
  _mm512_mask_storeu_epi32(dst, mask, codes);
}

/// Limits of 16 columns.
struct Limits {
  __m512i lo, hi;
  __m512i operator()(__m512i x) const { return _mm512_min_epi32(_mm512_max_epi32(x, lo), hi); }
};

Limits limits_of(const RequantizeTask& t, std::int64_t c, __mmask16 mask) {
  return {_mm512_maskz_loadu_epi32(mask, t.lo + c), _mm512_maskz_loadu_epi32(mask, t.hi + c)};
}

/// Sums of a row without the row's term.
__m512i less_term(__m512i sums, const RequantizeTask& t, std::int64_t row) {
  return t.row_terms ? _mm512_sub_epi32(sums, _mm512_set1_epi32(t.row_terms[row])) : sums;
}

/// Columns from `first` on.
template <bool kBy32, typename Code>
void requantize_columns(std::int64_t first, const RequantizeTask& t, const std::int32_t* sums,
                        std::int64_t sums_stride, std::int64_t rows, std::int64_t columns, Code* dst,
                        std::int64_t dst_stride) {
  const __m128i shift = _mm_cvtsi32_si128(t.shift);
  for (std::int64_t c = first; c < columns; c += kLanes) {
    const __mmask16 mask = first_lanes(columns - c);
    const Columns k = columns_of(t, c, mask);
    const Limits limits = limits_of(t, c, mask);
    for (std::int64_t row = 0; row < rows; ++row) {
      const __m512i x = _mm512_maskz_loadu_epi32(mask, sums + row * sums_stride + c);
      store_codes(dst + row * dst_stride + c, mask, limits(rescaled<kBy32>(less_term(x, t, row), k, shift)));
    }
  }
}

template <typename Code>
void requantize(const RequantizeTask& t, const std::int32_t* sums, std::int64_t sums_stride,
                std::int64_t rows, std::int64_t columns, Code* dst, std::int64_t dst_stride) {
  if (t.shift == 32) return requantize_columns<true>(0, t, sums, sums_stride, rows, columns, dst, dst_stride);
  requantize_columns<false>(0, t, sums, sums_stride, rows, columns, dst, dst_stride);
}

/// 64 codes from four vectors: packing to bytes clips to 0 .. 255. Within 128 bits columns are in the order
/// of the vectors, so that it undoes what unpacking bytes does.
__m512i packed_bytes(const __m512i* x) {
  return _mm512_packus_epi16(_mm512_packs_epi32(x[0], x[1]), _mm512_packs_epi32(x[2], x[3]));
}

/// What is left to clip, in bytes.
struct ByteLimits {
  __m512i lo, hi;
  ByteLimits(const RequantizeTask& t, std::int64_t c) {
    std::uint8_t bytes[2][kBytes];
    for (std::int64_t i = 0; i < kBytes; ++i) {
      bytes[0][i] = std::uint8_t(t.lo[c + i]);
      bytes[1][i] = std::uint8_t(t.hi[c + i]);
    }
    lo = _mm512_loadu_si512(bytes[0]);
    hi = _mm512_loadu_si512(bytes[1]);
  }
  __m512i operator()(__m512i x) const { return _mm512_min_epu8(_mm512_max_epu8(x, lo), hi); }
};

/// Whole groups of 64 columns; returns how many columns that are.
template <bool kBy32, bool kHasTerms>
std::int64_t requantize_bytes(const RequantizeTask& t, const std::int32_t* sums, std::int64_t sums_stride,
                              std::int64_t rows, std::int64_t columns, std::uint8_t* dst,
                              std::int64_t dst_stride) {
  const __m128i shift = _mm_cvtsi32_si128(t.shift);
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  std::int64_t c = 0;
  for (; c + kBytes <= columns; c += kBytes) {
    Columns k[4];
    for (int i = 0; i < 4; ++i) k[i] = columns_of(t, c + i * kLanes, 0xffff);
    const ByteLimits limits(t, c);
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int32_t* x = sums + row * sums_stride + c;
      __m512i y[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        y[i] = _mm512_loadu_si512(x + i * kLanes);
        y[i] = rescaled<kBy32>(kHasTerms ? less_term(y[i], t, row) : y[i], k[i], shift);
      }
      _mm512_storeu_si512(dst + row * dst_stride + c,
                          limits(_mm512_permutexvar_epi32(order, packed_bytes(y))));
    }
  }
  return c;
}

template <bool kBy32>
void requantize_u8_by(const RequantizeTask& t, const std::int32_t* sums, std::int64_t sums_stride,
                      std::int64_t rows, std::int64_t columns, std::uint8_t* dst, std::int64_t dst_stride) {
  const std::int64_t done =
      t.row_terms ? requantize_bytes<kBy32, true>(t, sums, sums_stride, rows, columns, dst, dst_stride)
                  : requantize_bytes<kBy32, false>(t, sums, sums_stride, rows, columns, dst, dst_stride);
  requantize_columns<kBy32>(done, t, sums, sums_stride, rows, columns, dst, dst_stride);
}

void requantize_u8(const RequantizeTask& t, const std::int32_t* sums, std::int64_t sums_stride,
                   std::int64_t rows, std::int64_t columns, std::uint8_t* dst, std::int64_t dst_stride) {
  if (t.shift == 32) return requantize_u8_by<true>(t, sums, sums_stride, rows, columns, dst, dst_stride);
  requantize_u8_by<false>(t, sums, sums_stride, rows, columns, dst, dst_stride);
}

template <typename Code>
void add(const RequantizeTask& t, const std::int32_t* addend_multiplier, const std::int32_t* sums,
         std::int64_t sums_stride, const std::int16_t* addend, std::int64_t addend_stride, std::int64_t rows,
         std::int64_t columns, Code* dst, std::int64_t dst_stride) {
  const __m128i shift = _mm_cvtsi32_si128(t.shift);
  for (std::int64_t c = 0; c < columns; c += kLanes) {
    const __mmask16 mask = first_lanes(columns - c);
    const Columns k = columns_of(t, c, mask);
    const Limits limits = limits_of(t, c, mask);
    const __m512i m = _mm512_maskz_loadu_epi32(mask, addend_multiplier + c);
    for (std::int64_t row = 0; row < rows; ++row) {
      const __m512i x = _mm512_maskz_loadu_epi32(mask, sums + row * sums_stride + c),
                    a = _mm512_cvtepi16_epi32(
                        _mm256_maskz_loadu_epi16(mask, addend + row * addend_stride + c));
      store_codes(dst + row * dst_stride + c, mask, limits(rescaled_sum(x, a, m, k, shift)));
    }
  }
}
