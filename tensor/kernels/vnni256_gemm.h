// A part of integer_vnni256.cpp and integer_avxvnni.cpp: matrix products by the same instruction in its two
// encodings, in tiles whose sums fit 16 registers.
#pragma once

#include "tensor/kernels/avx2_rows.h"

/// Adds the products of four unsigned and four signed bytes to each lane; it does not saturate.
__m256i add_quads(__m256i sums, __m256i x, __m256i w) {
#ifdef __AVXVNNI__
  return _mm256_dpbusd_avx_epi32(sums, x, w);
#else
  return _mm256_dpbusd_epi32(sums, x, w);
#endif
}

constexpr int kChains = 12;  // of multiply_adds()

std::int32_t multiply_adds(std::int64_t rounds) {
  __m256i chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = _mm256_set1_epi32(i);
  const __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(-1);
  for (std::int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chains[i] = add_quads(chains[i], a, b);
  for (int i = 1; i < kChains; ++i) chains[0] = _mm256_add_epi32(chains[0], chains[i]);
  return _mm256_extract_epi32(chains[0], 0);
}

/// kRows rows of one panel, which has two vectors of columns.
template <int kRows>
void gemm_tile(const IntegerGemmTask& t, const std::int8_t* weights, std::int64_t row, std::int32_t* sums) {
  constexpr int kVectors = 2, kVectorBytes = 32;
  const std::uint8_t* rows[kRows];
  __m256i acc[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    rows[i] = row_of(t, row + i);
    for (int v = 0; v < kVectors; ++v) acc[i][v] = _mm256_setzero_si256();
  }
  for (std::int64_t s = 0; s < t.segments; ++s)
    for (std::int64_t q = 0; q < t.segment_quads; ++q, weights += kPanelColumns * kQuad) {
      const std::int64_t at = s * t.segment_stride + q * kQuad;
      __m256i w[kVectors];
      for (int v = 0; v < kVectors; ++v)
        w[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + kVectorBytes * v));
      for (int i = 0; i < kRows; ++i) {
        std::int32_t quad;
        std::memcpy(&quad, rows[i] + at, sizeof quad);
        const __m256i x = _mm256_set1_epi32(quad);
        for (int v = 0; v < kVectors; ++v) acc[i][v] = add_quads(acc[i][v], x, w[v]);
      }
    }
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + i * t.sums_stride) + v, acc[i][v]);
}

/// The last tile of a panel overlaps the one before it.
void gemm(const IntegerGemmTask& t, std::int64_t row_begin, std::int64_t row_end) {
  constexpr int kRows = 6;
  for (std::int64_t panel = 0; panel < t.panels; ++panel) {
    const std::int8_t* weights = t.weights + panel * t.segments * t.segment_quads * kPanelColumns * kQuad;
    std::int32_t* sums = t.sums + panel * kPanelColumns;
    if (row_end - row_begin < kRows) {
      for (std::int64_t row = row_begin; row < row_end; ++row)
        gemm_tile<1>(t, weights, row, sums + (row - row_begin) * t.sums_stride);
      continue;
    }
    for (std::int64_t row = row_begin; row < row_end; row += kRows) {
      const std::int64_t first = row + kRows > row_end ? row_end - kRows : row;
      gemm_tile<kRows>(t, weights, first, sums + (first - row_begin) * t.sums_stride);
    }
  }
}

constexpr IntegerKernels table_of_quads(const char* name, bool (*is_supported)()) {
  IntegerKernels table = table_of_rows(name, is_supported, gemm);
  table.multiply_adds = multiply_adds;
  table.macs_of_round = kChains * 32;
  return table;
}
