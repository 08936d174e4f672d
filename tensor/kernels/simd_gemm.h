// A part of simd.h: matrix products in tiles whose sums stay in registers.
#pragma once

#include "tensor/kernels/simd_vector.h"

/// Where the rows of a tile are, and how far in them it is: one pointer for three rows that are `stride`
/// apart, or one for each row, which stand still then, so that all of them fit registers.
template <int kRows, bool kStrided>
struct TileRows {
  static constexpr int kGroup = kStrided ? 3 : 1, kPointers = (kRows + kGroup - 1) / kGroup;
  const float* pointers[kPointers];
  std::int64_t stride, at = 0;

  TileRows(const GemmTask& t, std::int64_t row) : stride(t.src_stride) {
#pragma GCC unroll 16
    for (int i = 0; i < kPointers; ++i)
      pointers[i] = t.src + (kStrided ? (row + i * kGroup) * stride : std::int64_t(t.src_rows[row + i]));
  }
  float operator[](int i) const { return pointers[i / kGroup][kStrided ? i % kGroup * stride : at]; }
  void advance(std::int64_t count) {
    if constexpr (!kStrided) {
      at += count;
      return;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kPointers; ++i) pointers[i] += count;
  }
};

/// Rows `row` .. row + kRows - 1 are computed, but the first `done` of them are not stored.
template <int kRows, int kVectors, bool kStrided>
inline void gemm_tile(const GemmTask& t, const GemmPanel& panel, std::int64_t row, std::int64_t done = 0) {
  TileRows<kRows, kStrided> src(t, row);
  Vector sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums[i][j] = load(panel.bias + j * kLanes);
  if (t.row_bias)
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sums[i][j] += t.row_bias[row + i];

  const float* weights = panel.weights;
  for (std::int64_t s = 0; s < t.segments; ++s) {
    for (std::int64_t k = 0; k < t.segment_depth; ++k, weights += kVectors * kLanes) {
      Vector w[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) w[j] = load(weights + j * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const Vector x = broadcast(src[i]);
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) sums[i][j] += x * w[j];
      }
      src.advance(1);
    }
    src.advance(t.segment_stride - t.segment_depth);
  }

  if (t.activation == Activation::kSilu)
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sums[i][j] = silu_of(sums[i][j]);

  const int columns_of_last = panel.columns - (kVectors - 1) * kLanes;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    if (i < done) continue;
    float* dst = t.dst + (row + i) * t.dst_stride + panel.start;
    const float* residual = t.residual ? t.residual + (row + i) * t.residual_stride + panel.start : nullptr;
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      Vector y = sums[i][j];
      if (j == kVectors - 1 && columns_of_last < kLanes) {
        if (residual) y += load_part(residual + j * kLanes, columns_of_last);
        store_part(dst + j * kLanes, y, columns_of_last);
      } else {
        if (residual) y += load(residual + j * kLanes);
        store(dst + j * kLanes, y);
      }
    }
  }
}

/// The rows from `row` on, at most kTile, by the least tile of 4, 8, ... rows that holds them: it reaches
/// back over rows that are done, unless there are too few.
template <int kTile, int kVectors, bool kStrided>
void gemm_rest(const GemmTask& t, const GemmPanel& panel, std::int64_t begin, std::int64_t row,
               std::int64_t end) {
  constexpr int kSmaller = (kTile - 1) / 4 * 4;
  if constexpr (kSmaller > 0)
    if (end - row <= kSmaller) return gemm_rest<kSmaller, kVectors, kStrided>(t, panel, begin, row, end);
  if (row < end && end - begin >= kTile)
    return gemm_tile<kTile, kVectors, kStrided>(t, panel, end - kTile, row - (end - kTile));
  for (; row < end; ++row) gemm_tile<1, kVectors, kStrided>(t, panel, row);
}

template <int kVectors, bool kStrided>
void gemm_panel(const GemmTask& t, const GemmPanel& panel, std::int64_t begin, std::int64_t end) {
  constexpr int kRows = kTileRows[kVectors];
  std::int64_t row = begin;
  for (; row + kRows <= end; row += kRows) gemm_tile<kRows, kVectors, kStrided>(t, panel, row);
  gemm_rest<kRows, kVectors, kStrided>(t, panel, begin, row, end);
}

template <int kVectors>
void gemm_panel(const GemmTask& t, const GemmPanel& panel, std::int64_t begin, std::int64_t end) {
  if (t.src_rows)
    gemm_panel<kVectors, false>(t, panel, begin, end);
  else
    gemm_panel<kVectors, true>(t, panel, begin, end);
}

void gemm(const GemmTask& t, std::int64_t begin, std::int64_t end) {
  // A block of rows stays in the second-level cache while all panels pass over it. It has whole tiles of any
  // width.
  constexpr std::int64_t kBlockFloats = 32 << 10, kTiles = 24;
  const std::int64_t depth = t.segments * t.segment_depth;
  std::int64_t block = kBlockFloats / (depth > 0 ? depth : 1) / kTiles * kTiles;
  if (block < 2 * kTiles) block = 2 * kTiles;
  for (std::int64_t row = begin; row < end;) {
    std::int64_t next = row + block;
    if (next + kTiles > end) next = end;  // no block of a few rows at the end
    for (int p = 0; p < t.panel_count; ++p) {
      const GemmPanel& panel = t.panels[p];
      if (panel.vectors == 1) gemm_panel<1>(t, panel, row, next);
      if constexpr (kMaxVectors >= 2)
        if (panel.vectors == 2) gemm_panel<2>(t, panel, row, next);
      if constexpr (kMaxVectors >= 3)
        if (panel.vectors == 3) gemm_panel<3>(t, panel, row, next);
      if constexpr (kMaxVectors >= 4)
        if (panel.vectors == 4) gemm_panel<4>(t, panel, row, next);
    }
    row = next;
  }
}
