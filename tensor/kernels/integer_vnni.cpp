// Compiled for CPUs with AVX512-VNNI and AVX512-VBMI; see integer_rows.h for what each kernel computes.
#include <cstring>
#include <immintrin.h>

#include "tensor/kernels/integer_kernels.h"

namespace qhv {
namespace {

#include "tensor/kernels/integer_rows.h"

constexpr std::int64_t kLanes = 16;
constexpr std::int64_t kPanelQuad = kPanelColumns * kQuad;  // bytes

/// The first `count` lanes, all of them from 16 on.
__mmask16 first_lanes(std::int64_t count) {
  return count >= kLanes ? __mmask16(0xffff) : __mmask16((1u << count) - 1);
}

constexpr std::int64_t kBytes = 64;

__mmask64 first_bytes(std::int64_t count) {
  return count >= kBytes ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

/// Sums of kRows rows and kPanels panels stay in registers.
template <int kRows, int kPanels>
void gemm_tile(const IntegerGemmTask& t, const std::int8_t* weights, std::int64_t row, std::int32_t* sums) {
  const std::int64_t panel_size = t.segments * t.segment_quads * kPanelQuad;
  const std::uint8_t* rows[kRows];
  __m512i acc[kRows][kPanels];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    rows[i] = row_of(t, row + i);
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) acc[i][p] = _mm512_setzero_si512();
  }
  for (std::int64_t s = 0; s < t.segments; ++s)
    for (std::int64_t q = 0; q < t.segment_quads; ++q, weights += kPanelQuad) {
      __m512i w[kPanels];
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) w[p] = _mm512_loadu_si512(weights + p * panel_size);
      const std::int64_t at = s * t.segment_stride + q * kQuad;
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        std::int32_t quad;
        std::memcpy(&quad, rows[i] + at, sizeof quad);
        const __m512i x = _mm512_set1_epi32(quad);
#pragma GCC unroll 4
        for (int p = 0; p < kPanels; ++p) acc[i][p] = _mm512_dpbusd_epi32(acc[i][p], x, w[p]);
      }
    }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p)
      _mm512_storeu_si512(sums + i * t.sums_stride + p * kPanelColumns, acc[i][p]);
}

/// All rows of kPanels panels. The last tile overlaps the one before it.
template <int kRows, int kPanels>
void gemm_panels(const IntegerGemmTask& t, std::int64_t panel, std::int64_t row_begin, std::int64_t row_end) {
  const std::int8_t* weights = t.weights + panel * t.segments * t.segment_quads * kPanelQuad;
  const auto tile_sums = [&](std::int64_t row) {
    return t.sums + (row - row_begin) * t.sums_stride + panel * kPanelColumns;
  };
  if (row_end - row_begin < kRows) {
    for (std::int64_t row = row_begin; row < row_end; ++row)
      gemm_tile<1, kPanels>(t, weights, row, tile_sums(row));
    return;
  }
  for (std::int64_t row = row_begin; row < row_end; row += kRows) {
    const std::int64_t first = row + kRows > row_end ? row_end - kRows : row;
    gemm_tile<kRows, kPanels>(t, weights, first, tile_sums(first));
  }
}

void gemm(const IntegerGemmTask& t, std::int64_t row_begin, std::int64_t row_end) {
  std::int64_t panel = 0;
  for (; panel + 4 <= t.panels && t.panels - panel != 5; panel += 4)
    gemm_panels<6, 4>(t, panel, row_begin, row_end);
  switch (t.panels - panel) {
    case 5:
      gemm_panels<8, 3>(t, panel, row_begin, row_end);
      return gemm_panels<8, 2>(t, panel + 3, row_begin, row_end);
    case 3:
      return gemm_panels<8, 3>(t, panel, row_begin, row_end);
    case 2:
      return gemm_panels<8, 2>(t, panel, row_begin, row_end);
    case 1:
      return gemm_panels<8, 1>(t, panel, row_begin, row_end);
    default:
      return;
  }
}

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
        (lane % 2 ? odd : even)[lane / 2] = t.offset[c];
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

__mmask32 first_words(std::int64_t count) {
  return count >= 32 ? ~__mmask32{0} : (__mmask32{1} << count) - 1;
}

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

/// Two bytes of each exponential are looked up apart; unpacking them gives words in an order that packing
/// undoes.
void softmax(const SoftmaxTask& t, const std::uint8_t* codes, std::int64_t count, std::uint8_t* dst) {
  const auto mask_at = [&](std::int64_t i) { return first_bytes(count - i); };
  __m512i most = _mm512_setzero_si512();
  for (std::int64_t i = 0; i < count; i += kBytes)
    most = _mm512_max_epu8(most, _mm512_maskz_loadu_epi8(mask_at(i), codes + i));
  std::uint8_t lanes[kBytes];
  _mm512_storeu_si512(lanes, most);
  std::uint8_t largest = 0;
  for (const std::uint8_t lane : lanes) largest = lane > largest ? lane : largest;

  std::uint8_t bytes[2][256];
  for (int i = 0; i < 256; ++i) {
    bytes[0][i] = std::uint8_t(t.exponents[i]);
    bytes[1][i] = std::uint8_t(t.exponents[i] >> 8);
  }
  const ByteTable lower(bytes[0]), higher(bytes[1]);
  const __m512i from = _mm512_set1_epi8(char(largest));
  struct Words {
    __m512i low, high;
  };
  const auto exponents_at = [&](std::int64_t i) {  // zero behind the end
    const __mmask64 mask = mask_at(i);
    const __m512i d = _mm512_sub_epi8(from, _mm512_maskz_loadu_epi8(mask, codes + i));
    const __mmask64 upper = _mm512_movepi8_mask(d);
    const __m512i b0 = _mm512_maskz_mov_epi8(mask, lower.at(d, upper)),
                  b1 = _mm512_maskz_mov_epi8(mask, higher.at(d, upper));
    return Words{_mm512_unpacklo_epi8(b0, b1), _mm512_unpackhi_epi8(b0, b1)};
  };
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i sums = _mm512_setzero_si512();
  for (std::int64_t i = 0; i < count; i += kBytes) {
    const Words e = exponents_at(i);
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
    const Words e = exponents_at(i);
    const __m512i result = _mm512_packus_epi16(codes_of(e.low), codes_of(e.high));
    _mm512_mask_storeu_epi8(dst + i, mask_at(i), result);
  }
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

constexpr IntegerKernels vnni_table() {
  IntegerKernels table = plain_table("vnni", [] {
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
  });
  table.gemm = gemm;
  table.depthwise = depthwise;
  table.requantize_u8 = requantize_u8;
  table.requantize_i16 = requantize<std::int16_t>;
  table.requantize_i32 = requantize<std::int32_t>;
  table.add_u8 = add<std::uint8_t>;
  table.add_i16 = add<std::int16_t>;
  table.look_up_u8 = look_up_u8;
  table.softmax = softmax;
  table.normalize = normalize;
  table.moments = moments;
  table.row_sum = row_sum;
  table.pack_rows = pack_rows;
  table.pack_columns = pack_columns;
  table.look_up_i16 = look_up_i16;
  table.rescale_table = rescale_table;
  return table;
}

}  // namespace

extern const IntegerKernels kIntegerKernelsVnni = vnni_table();

}  // namespace qhv
