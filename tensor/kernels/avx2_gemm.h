// A part of integer_avx2.cpp: matrix products in 16-bit lanes, because the instruction for bytes (vpmaddubsw)
// saturates.
#pragma once

#include "tensor/kernels/integer_rows.h"

/// kRows rows of one panel. A vector of sums has two for each of four columns, of the first and the second
/// pair of a quad's products.
template <int kRows>
void gemm_tile(const IntegerGemmTask& t, const std::int8_t* weights, std::int64_t row, std::int32_t* sums) {
  constexpr int kVectors = kPanelColumns / 4;
  const std::uint8_t* rows[kRows];
  __m256i acc[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    rows[i] = row_of(t, row + i);
    for (int v = 0; v < kVectors; ++v) acc[i][v] = _mm256_setzero_si256();
  }
  for (std::int64_t s = 0; s < t.segments; ++s)
    for (std::int64_t q = 0; q < t.segment_quads; ++q, weights += kPanelColumns * kQuad) {
      const std::int64_t at = s * t.segment_stride + q * kQuad;
      __m256i x[kRows];
      for (int i = 0; i < kRows; ++i) {
        std::int32_t quad;
        std::memcpy(&quad, rows[i] + at, sizeof quad);
        x[i] = _mm256_cvtepu8_epi16(_mm_set1_epi32(quad));
      }
      for (int v = 0; v < kVectors; ++v) {
        const __m256i w =
            _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weights + 16 * v)));
        for (int i = 0; i < kRows; ++i) acc[i][v] = _mm256_add_epi32(acc[i][v], _mm256_madd_epi16(x[i], w));
      }
    }
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; v += 2) {
      // Adds the two of each column; 64-bit lanes come out as 0, 2, 1, 3.
      const __m256i both = _mm256_hadd_epi32(acc[i][v], acc[i][v + 1]);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + i * t.sums_stride + 4 * v),
                          _mm256_permute4x64_epi64(both, 0xd8));
    }
}

void gemm(const IntegerGemmTask& t, std::int64_t row_begin, std::int64_t row_end) {
  constexpr int kRows = 2;
  for (std::int64_t panel = 0; panel < t.panels; ++panel) {
    const std::int8_t* weights = t.weights + panel * t.segments * t.segment_quads * kPanelColumns * kQuad;
    std::int32_t* sums = t.sums + panel * kPanelColumns;
    std::int64_t row = row_begin;
    for (; row + kRows <= row_end; row += kRows)
      gemm_tile<kRows>(t, weights, row, sums + (row - row_begin) * t.sums_stride);
    if (row < row_end) gemm_tile<1>(t, weights, row, sums + (row - row_begin) * t.sums_stride);
  }
}
