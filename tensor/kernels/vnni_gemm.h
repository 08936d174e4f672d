// A part of integer_vnni.cpp: matrix products in tiles whose sums stay in registers.
#pragma once

#include "tensor/kernels/vnni_lanes.h"

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

constexpr int kChains = 16;  // of multiply_adds()

std::int32_t multiply_adds(std::int64_t rounds) {
  __m512i chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = _mm512_set1_epi32(i);
  const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(-1);
  for (std::int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) chains[i] = _mm512_dpbusd_epi32(chains[i], a, b);
  __m512i sum = chains[0];
  for (int i = 1; i < kChains; ++i) sum = _mm512_add_epi32(sum, chains[i]);
  return _mm512_reduce_add_epi32(sum);
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
