// A part of the integer kernels for AVX2 and those beside it (integer_avx2.cpp, integer_vnni256.cpp,
// integer_avxvnni.cpp): what is done with rows, products of 64 bits in even and odd lanes. What is not
// written out here the compiler makes vectors of.
#pragma once

#include "tensor/kernels/avx2_depthwise.h"
#include "tensor/kernels/integer_rows.h"

constexpr std::int64_t kLanes = 8;

/// What 8 columns need, with the 64-bit numbers of even and odd lanes apart.
struct Columns {
  __m256i multiplier, odd_multiplier, even_offset, odd_offset, lo, hi;

  Columns(const RequantizeTask& t, std::int64_t c)
      : multiplier(load(t.multiplier + c)),
        odd_multiplier(_mm256_srli_epi64(multiplier, 32)),
        lo(load(t.lo + c)),
        hi(load(t.hi + c)) {
    std::int64_t even[4], odd[4];
    for (int i = 0; i < 4; ++i) {
      even[i] = t.offset[c + 2 * i];
      odd[i] = t.offset[c + 2 * i + 1];
    }
    even_offset = load(even);
    odd_offset = load(odd);
  }

  template <typename T>
  static __m256i load(const T* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
};

/// Products of 8 lanes: 64 bits, of even and odd lanes apart.
struct Products {
  __m256i even, odd;
};

Products products(__m256i x, __m256i multiplier, __m256i odd_multiplier) {
  return {_mm256_mul_epi32(x, multiplier), _mm256_mul_epi32(_mm256_srli_epi64(x, 32), odd_multiplier)};
}

/// Codes of products. A shift without sign does: the result is in the 32 bits above `shift`.
__m256i codes_of(const Products& p, const Columns& k, __m128i shift) {
  const __m256i even = _mm256_srl_epi64(_mm256_add_epi64(p.even, k.even_offset), shift),
                odd = _mm256_srl_epi64(_mm256_add_epi64(p.odd, k.odd_offset), shift);
  const __m256i x = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
  return _mm256_min_epi32(_mm256_max_epi32(x, k.lo), k.hi);
}

void store_codes(std::int32_t* dst, __m256i codes) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst), codes);
}
void store_codes(std::int16_t* dst, __m256i codes) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(dst), words);
}
void store_codes(std::uint8_t* dst, __m256i codes) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(dst), _mm_packus_epi16(words, words));
}

/// The task from column `c` on, for the plain kernel of the columns that make no vector.
RequantizeTask rest_of(const RequantizeTask& t, std::int64_t c) {
  return {t.multiplier + c, t.offset + c, t.lo + c, t.hi + c, t.shift, t.row_terms};
}

template <typename Code>
void requantize(const RequantizeTask& t, const std::int32_t* sums, std::int64_t sums_stride,
                std::int64_t rows, std::int64_t columns, Code* dst, std::int64_t dst_stride) {
  const __m128i shift = _mm_cvtsi32_si128(t.shift);
  std::int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) {
    const Columns k(t, c);
    for (std::int64_t row = 0; row < rows; ++row) {
      const __m256i term = _mm256_set1_epi32(t.row_terms ? t.row_terms[row] : 0),
                    x = _mm256_sub_epi32(Columns::load(sums + row * sums_stride + c), term);
      store_codes(dst + row * dst_stride + c,
                  codes_of(products(x, k.multiplier, k.odd_multiplier), k, shift));
    }
  }
  requantize_plain(rest_of(t, c), sums + c, sums_stride, rows, columns - c, dst + c, dst_stride);
}

template <typename Code>
void add(const RequantizeTask& t, const std::int32_t* addend_multiplier, const std::int32_t* sums,
         std::int64_t sums_stride, const std::int16_t* addend, std::int64_t addend_stride, std::int64_t rows,
         std::int64_t columns, Code* dst, std::int64_t dst_stride) {
  const __m128i shift = _mm_cvtsi32_si128(t.shift);
  std::int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) {
    const Columns k(t, c);
    const __m256i m = Columns::load(addend_multiplier + c), odd_m = _mm256_srli_epi64(m, 32);
    for (std::int64_t row = 0; row < rows; ++row) {
      const __m256i a = _mm256_cvtepi16_epi32(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(addend + row * addend_stride + c)));
      const Products px = products(Columns::load(sums + row * sums_stride + c), k.multiplier,
                                   k.odd_multiplier),
                     pa = products(a, m, odd_m);
      store_codes(dst + row * dst_stride + c,
                  codes_of({_mm256_add_epi64(px.even, pa.even), _mm256_add_epi64(px.odd, pa.odd)}, k, shift));
    }
  }
  add_plain(rest_of(t, c), addend_multiplier + c, sums + c, sums_stride, addend + c, addend_stride, rows,
            columns - c, dst + c, dst_stride);
}

void rescale_table(const RequantizeTask& t, const std::int32_t* table, const std::uint8_t* codes,
                   std::int64_t codes_stride, std::int64_t rows, std::int64_t columns, std::uint8_t* dst,
                   std::int64_t dst_stride) {
  const __m128i shift = _mm_cvtsi32_si128(t.shift);
  std::int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) {
    const Columns k(t, c);
    for (std::int64_t row = 0; row < rows; ++row) {
      const __m256i at = _mm256_cvtepu8_epi32(
          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + row * codes_stride + c)));
      const __m256i x = _mm256_i32gather_epi32(table, at, 4);
      store_codes(dst + row * dst_stride + c,
                  codes_of(products(x, k.multiplier, k.odd_multiplier), k, shift));
    }
  }
  rescale_table_plain(rest_of(t, c), table, codes + c, codes_stride, rows, columns - c, dst + c, dst_stride);
}

/// 256 bytes as sixteen shuffles can look them up.
struct ByteTable {
  __m256i part[16];  // 16 entries each, twice

  explicit ByteTable(const std::int16_t* table) {
    for (int i = 0; i < 16; ++i) {
      const __m256i words = _mm256_and_si256(Columns::load(table + 16 * i), _mm256_set1_epi16(255));
      part[i] = _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), 0x88);
    }
  }

  /// Of each byte: its low bits choose in every part, the high ones, halving what is left, among the parts.
  __m256i operator[](__m256i x) const {
    const __m256i low = _mm256_and_si256(x, _mm256_set1_epi8(15));
    __m256i found[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) found[i] = _mm256_shuffle_epi8(part[i], low);
#pragma GCC unroll 4
    for (int bit = 4; bit < 8; ++bit) {
      const __m256i is_set = _mm256_slli_epi16(x, 7 - bit);
#pragma GCC unroll 8
      for (int i = 0; i < 128 >> bit; ++i)
        found[i] = _mm256_blendv_epi8(found[2 * i], found[2 * i + 1], is_set);
    }
    return found[0];
  }
};

/// The last bytes of a row overlap those before them.
void look_up_u8(const std::int16_t* table, const std::uint8_t* codes, std::int64_t codes_stride,
                std::int64_t rows, std::int64_t columns, std::uint8_t* dst, std::int64_t dst_stride) {
  constexpr std::int64_t kBytes = 32;
  if (columns < kBytes) return look_up_plain(table, codes, codes_stride, rows, columns, dst, dst_stride);
  const ByteTable bytes(table);
  for (std::int64_t row = 0; row < rows; ++row, codes += codes_stride, dst += dst_stride)
    for (std::int64_t c = 0; c < columns; c += kBytes) {
      const std::int64_t at = c < columns - kBytes ? c : columns - kBytes;
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + at), bytes[Columns::load(codes + at)]);
    }
}

void normalize(const std::int16_t* src, std::int64_t count, std::int32_t mean, std::int32_t inverse,
               int shift, std::int32_t* dst) {
  const __m256i m = _mm256_set1_epi32(mean), factor = _mm256_set1_epi64x(inverse),
                half = _mm256_set1_epi64x(std::int64_t{1} << (shift - 1));
  const __m128i by = _mm_cvtsi32_si128(shift);
  std::int64_t c = 0;
  for (; shift <= 32 && c + kLanes <= count; c += kLanes) {
    const __m256i x = _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src + c))),
                  d = _mm256_sub_epi32(_mm256_slli_epi32(x, 8), m);
    const Products p = products(d, factor, factor);
    const __m256i even = _mm256_srl_epi64(_mm256_add_epi64(p.even, half), by),
                  odd = _mm256_srl_epi64(_mm256_add_epi64(p.odd, half), by);
    store_codes(dst + c, _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa));
  }
  normalize_plain(src + c, count - c, mean, inverse, shift, dst + c);
}

/// Exponents are looked up once and kept, of rows that are no longer than this.
constexpr std::int64_t kSoftmaxRow = 1024;

void softmax_row(const SoftmaxTask& t, const std::uint8_t* codes, std::int64_t count, std::uint8_t* dst) {
  if (count > kSoftmaxRow) return softmax_row_plain(t, codes, count, dst);
  std::uint8_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) largest = codes[i] > largest ? codes[i] : largest;
  const std::uint16_t* table = t.exponents + largest;
  alignas(32) std::uint16_t exponents[kSoftmaxRow];
  std::uint32_t sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    exponents[i] = table[-std::int64_t(codes[i])];
    sum += exponents[i];
  }
  const SoftmaxFactor r = softmax_factor(t, sum);
  const std::uint32_t half = std::uint32_t{1} << (r.shift - 1);
  // Of probabilities past all codes it does not matter how large they are; less than 2^24 stays so with a
  // zero point.
  constexpr std::uint32_t kMost = 1 << 24;
  const __m256i factor = _mm256_set1_epi32(std::int32_t(r.factor)),
                halves = _mm256_set1_epi32(std::int32_t(half)), most = _mm256_set1_epi32(kMost),
                zero = _mm256_set1_epi32(t.zero), lo = _mm256_set1_epi32(t.lo), hi = _mm256_set1_epi32(t.hi);
  const __m128i shift = _mm_cvtsi32_si128(r.shift);
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const __m256i e = _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(exponents + i)));
    const __m256i p = _mm256_srl_epi32(_mm256_add_epi32(_mm256_mullo_epi32(e, factor), halves), shift),
                  code = _mm256_add_epi32(_mm256_min_epu32(p, most), zero);
    store_codes(dst + i, _mm256_min_epi32(_mm256_max_epi32(code, lo), hi));
  }
  for (; i < count; ++i) {
    const std::uint32_t p = (exponents[i] * r.factor + half) >> r.shift;
    dst[i] = std::uint8_t(clip(std::int64_t(p) + t.zero, t.lo, t.hi));
  }
}

void softmax(const SoftmaxTask& t, const std::uint8_t* codes, std::int64_t codes_stride, std::int64_t rows,
             std::int64_t columns, std::uint8_t* dst, std::int64_t dst_stride) {
  for (std::int64_t row = 0; row < rows; ++row)
    softmax_row(t, codes + row * codes_stride, columns, dst + row * dst_stride);
}

constexpr IntegerKernels table_of_rows(const char* name, bool (*is_supported)(),
                                       void (*gemm)(const IntegerGemmTask&, std::int64_t, std::int64_t)) {
  IntegerKernels table = plain_table(name, is_supported);
  table.gemm = gemm;
  table.requantize_u8 = requantize<std::uint8_t>;
  table.requantize_i16 = requantize<std::int16_t>;
  table.requantize_i32 = requantize<std::int32_t>;
  table.add_u8 = add<std::uint8_t>;
  table.add_i16 = add<std::int16_t>;
  table.look_up_u8 = look_up_u8;
  table.rescale_table = rescale_table;
  table.softmax = softmax;
  table.normalize = normalize;
  table.depthwise = depthwise;
  return table;
}
