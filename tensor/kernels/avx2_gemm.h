// A part of integer_avx2.cpp: matrix products in 16-bit lanes, because the instruction for bytes (vpmaddubsw)
// saturates.
//
// A quad's bytes 0 and 2 are one pair of 16-bit numbers, bytes 1 and 3 the other: a mask and shifts make
// both, of eight columns at a time, and vpmaddwd adds each pair's products to 32 bits.
#pragma once

#include "tensor/kernels/integer_rows.h"

constexpr int kTileRows = 8;
constexpr std::int64_t kVectorColumns = 8;
/// As many quads as are read at a time: what is read and the weights of a panel fit the first-level cache.
constexpr std::int64_t kStretchQuads = 192;

/// The pairs of a stretch of some rows; the last vector of a row may hold more than the stretch.
struct RowPairs {
  alignas(32) std::int32_t even[kTileRows][kStretchQuads + kVectorColumns];
  alignas(32) std::int32_t odd[kTileRows][kStretchQuads + kVectorColumns];
};

/// Reads `count` quads from quad `first` of a row on, whose segments count as one behind the other.
void read_pairs(const IntegerGemmTask& t, const std::uint8_t* row, std::int64_t first, std::int64_t count,
                std::int32_t* even, std::int32_t* odd) {
  const __m256i low_bytes = _mm256_set1_epi16(0xff);
  for (const std::int64_t end = first + count; first < end;) {
    const std::int64_t segment = first / t.segment_quads, at = first % t.segment_quads;
    const std::int64_t left = t.segment_quads - at, quads = end - first < left ? end - first : left;
    const std::uint8_t* src = row + segment * t.segment_stride + at * kQuad;
    for (std::int64_t q = 0; q < quads; q += kVectorColumns) {
      const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(src + q * kQuad));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(even + q), _mm256_and_si256(x, low_bytes));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(odd + q), _mm256_srli_epi16(x, 8));
    }
    first += quads;
    even += quads;
    odd += quads;
  }
}

/// Eight columns of kRows rows: adds the products of `quads` quads to the sums, or begins them.
template <int kRows>
void gemm_tile(const RowPairs& pairs, std::int64_t quads, const std::int8_t* weights, bool begin,
               std::int32_t* sums, std::int64_t sums_stride) {
  __m256i acc[kRows];
  for (int i = 0; i < kRows; ++i)
    acc[i] = begin ? _mm256_setzero_si256()
                   : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + i * sums_stride));
  for (std::int64_t q = 0; q < quads; ++q) {
    const __m256i w =
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + q * kPanelColumns * kQuad));
    const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), odd = _mm256_srai_epi16(w, 8);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_set1_epi32(pairs.even[i][q]), even));
      acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_set1_epi32(pairs.odd[i][q]), odd));
    }
  }
  for (int i = 0; i < kRows; ++i)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + i * sums_stride), acc[i]);
}

/// All columns of kRows rows.
template <int kRows>
void gemm_rows(const IntegerGemmTask& t, std::int64_t row, std::int32_t* sums) {
  const std::int64_t quads = t.segments * t.segment_quads;
  const std::int64_t stretches = (quads + kStretchQuads - 1) / kStretchQuads;
  RowPairs pairs;
  for (std::int64_t s = 0; s < stretches; ++s) {
    const std::int64_t first = s * quads / stretches, count = (s + 1) * quads / stretches - first;
    for (int i = 0; i < kRows; ++i)
      read_pairs(t, row_of(t, row + i), first, count, pairs.even[i], pairs.odd[i]);
    for (std::int64_t column = 0; column < t.panels * kPanelColumns; column += kVectorColumns) {
      const std::int64_t panel = column / kPanelColumns, beside = column % kPanelColumns;
      const std::int8_t* weights = t.weights + ((panel * quads + first) * kPanelColumns + beside) * kQuad;
      gemm_tile<kRows>(pairs, count, weights, s == 0, sums + column, t.sums_stride);
    }
  }
}

void gemm(const IntegerGemmTask& t, std::int64_t row_begin, std::int64_t row_end) {
  using GemmRows = void (*)(const IntegerGemmTask&, std::int64_t, std::int32_t*);
  constexpr GemmRows kByRows[kTileRows] = {gemm_rows<1>, gemm_rows<2>, gemm_rows<3>, gemm_rows<4>,
                                           gemm_rows<5>, gemm_rows<6>, gemm_rows<7>, gemm_rows<8>};
  for (std::int64_t row = row_begin; row < row_end; row += kTileRows) {
    const std::int64_t rows = row_end - row < kTileRows ? row_end - row : kTileRows;
    kByRows[rows - 1](t, row, t.sums + (row - row_begin) * t.sums_stride);
  }
}
