// A part of integer_vnni.cpp: tables of 256 entries, looked up a vector at a time.
#pragma once

#include "tensor/kernels/vnni_codes.h"

/// 256 bytes, looked up 64 at a time.
struct ByteTable {
  __m512i part[4];

  ByteTable() = default;
  explicit ByteTable(const std::uint8_t* table) {
    for (int i = 0; i < 4; ++i) part[i] = _mm512_loadu_si512(table + 64 * i);
  }
  __m512i at(__m512i x, __mmask64 upper) const {
    return _mm512_mask_blend_epi8(upper, _mm512_permutex2var_epi8(part[0], x, part[1]),
                                  _mm512_permutex2var_epi8(part[2], x, part[3]));
  }
};

/// The numbers of 64 columns in the order of packed_bytes(): vector i has columns 16 l + 4 i and on in its
/// 128 bits number l. Columns that do not exist have zeros.
struct PackedColumns {
  Columns k[4];

  PackedColumns(const RequantizeTask& t, std::int64_t first, std::int64_t columns) {
    for (int i = 0; i < 4; ++i) {
      std::int32_t multiplier[16] = {};
      std::int64_t even[8] = {}, odd[8] = {};
      for (int lane = 0; lane < 16; ++lane) {
        const std::int64_t c = first + lane / 4 * 16 + 4 * i + lane % 4;
        if (c >= columns) continue;
        multiplier[lane] = t.multiplier[c];
        // A pointer: the bounds check of GCC 12 errs where one of two arrays is indexed.
        std::int64_t* const offsets = lane % 2 ? odd : even;
        offsets[lane / 2] = t.offset[c];
      }
      const __m512i m = _mm512_loadu_si512(multiplier);
      k[i] = {m, _mm512_srli_epi64(m, 32), _mm512_loadu_si512(even), _mm512_loadu_si512(odd)};
    }
  }
};

/// Entries are looked up byte by byte, and put together by unpacking.
template <bool kBy32>
void rescale_table_by(const RequantizeTask& t, const std::int32_t* table, const std::uint8_t* codes,
                      std::int64_t codes_stride, std::int64_t rows, std::int64_t columns, std::uint8_t* dst,
                      std::int64_t dst_stride) {
  ByteTable plane[4];
  for (int p = 0; p < 4; ++p) {
    std::uint8_t bytes[256];
    for (int i = 0; i < 256; ++i) bytes[i] = std::uint8_t(std::uint32_t(table[i]) >> (8 * p));
    plane[p] = ByteTable(bytes);
  }
  const __m128i shift = _mm_cvtsi32_si128(t.shift);
  for (std::int64_t c = 0; c < columns; c += kBytes) {
    const PackedColumns packed(t, c, columns);
    const __mmask64 mask = first_bytes(columns - c);
    std::int32_t ends[2][kBytes] = {};
    for (std::int64_t i = 0; i < kBytes && c + i < columns; ++i) {
      ends[0][i] = t.lo[c + i];
      ends[1][i] = t.hi[c + i];
    }
    const ByteLimits limits({.lo = ends[0], .hi = ends[1]}, 0);
    for (std::int64_t row = 0; row < rows; ++row) {
      const __m512i x = _mm512_maskz_loadu_epi8(mask, codes + row * codes_stride + c);
      const __mmask64 upper = _mm512_movepi8_mask(x);
      const __m512i b0 = plane[0].at(x, upper), b1 = plane[1].at(x, upper), b2 = plane[2].at(x, upper),
                    b3 = plane[3].at(x, upper);
      const __m512i low = _mm512_unpacklo_epi8(b0, b1), high = _mm512_unpackhi_epi8(b0, b1),
                    upper_low = _mm512_unpacklo_epi8(b2, b3), upper_high = _mm512_unpackhi_epi8(b2, b3);
      __m512i y[4] = {_mm512_unpacklo_epi16(low, upper_low), _mm512_unpackhi_epi16(low, upper_low),
                      _mm512_unpacklo_epi16(high, upper_high), _mm512_unpackhi_epi16(high, upper_high)};
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) y[i] = rescaled<kBy32>(y[i], packed.k[i], shift);
      const __m512i result = limits(packed_bytes(y));
      std::uint8_t* to = dst + row * dst_stride + c;
      if (mask == ~__mmask64{0})
        _mm512_storeu_si512(to, result);
      else
        _mm512_mask_storeu_epi8(to, mask, result);
    }
  }
}

void rescale_table(const RequantizeTask& t, const std::int32_t* table, const std::uint8_t* codes,
                   std::int64_t codes_stride, std::int64_t rows, std::int64_t columns, std::uint8_t* dst,
                   std::int64_t dst_stride) {
  if (t.shift == 32)
    return rescale_table_by<true>(t, table, codes, codes_stride, rows, columns, dst, dst_stride);
  rescale_table_by<false>(t, table, codes, codes_stride, rows, columns, dst, dst_stride);
}

void look_up_u8(const std::int16_t* table, const std::uint8_t* codes, std::int64_t codes_stride,
                std::int64_t rows, std::int64_t columns, std::uint8_t* dst, std::int64_t dst_stride) {
  std::uint8_t bytes[256];
  for (int i = 0; i < 256; ++i) bytes[i] = std::uint8_t(table[i]);
  const ByteTable entries(bytes);
  const bool whole = codes_stride == columns && dst_stride == columns;
  const std::int64_t width = whole ? rows * columns : columns;
  for (std::int64_t row = 0; row < (whole ? 1 : rows); ++row)
    for (std::int64_t c = 0; c < width; c += kBytes) {
      const __mmask64 mask = first_bytes(width - c);
      const __m512i x = _mm512_maskz_loadu_epi8(mask, codes + row * codes_stride + c);
      _mm512_mask_storeu_epi8(dst + row * dst_stride + c, mask, entries.at(x, _mm512_movepi8_mask(x)));
    }
}

/// 256 words, looked up 32 at a time.
struct WordTable {
  __m512i part[8];

  explicit WordTable(const std::int16_t* table) {
    for (int i = 0; i < 8; ++i) part[i] = _mm512_loadu_si512(table + 32 * i);
  }
  __m512i operator[](__m512i x) const {
    const __mmask32 bit6 = _mm512_test_epi16_mask(x, _mm512_set1_epi16(64)),
                    bit7 = _mm512_test_epi16_mask(x, _mm512_set1_epi16(128));
    const __m512i low = _mm512_mask_blend_epi16(bit6, _mm512_permutex2var_epi16(part[0], x, part[1]),
                                                _mm512_permutex2var_epi16(part[2], x, part[3])),
                  high = _mm512_mask_blend_epi16(bit6, _mm512_permutex2var_epi16(part[4], x, part[5]),
                                                 _mm512_permutex2var_epi16(part[6], x, part[7]));
    return _mm512_mask_blend_epi16(bit7, low, high);
  }
};

void look_up_i16(const std::int16_t* table, const std::uint8_t* codes, std::int64_t codes_stride,
                 std::int64_t rows, std::int64_t columns, std::int16_t* dst, std::int64_t dst_stride) {
  const WordTable words(table);
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t c = 0; c < columns; c += 32) {
      const __mmask32 mask = first_words(columns - c);
      const __m512i x = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(mask, codes + row * codes_stride + c));
      _mm512_mask_storeu_epi16(dst + row * dst_stride + c, mask, words[x]);
    }
}
