// A part of integer_vnni.cpp: matrix products by AMX, 32 rows by two or three panels at a time.
//
// A tile is 16 rows of 64 bytes: 16 rows of codes, 64 k of each; 16 quads of a panel, as they are packed; or
// 16 x 16 sums, to which one instruction adds the products of the other two. All tiles have this size. Where
// the depth is no multiple of 64 the codes are copied and filled up with zeros, which meet whatever lies
// behind the weights (kPackedSlack).
#pragma once

#include "tensor/kernels/integer_rows.h"
#include "tensor/kernels/vnni_gemm.h"

constexpr std::int64_t kTileRows = 16, kTileQuads = 16, kTileDepth = kTileQuads * kQuad;
constexpr std::int64_t kMostSegments = 4;

/// What ldtilecfg reads: all eight tiles are 16 rows of 64 bytes. A constant, because a compiler may think
/// that only its first bytes are read.
struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  constexpr TileConfiguration() {
    for (int i = 0; i < 8; ++i) {
      row_bytes[i] = kTileDepth;
      rows[i] = kTileRows;
    }
  }
};
constexpr TileConfiguration kTileConfiguration;

/// While it exists this thread has tiles.
class TilesInUse {
 public:
  TilesInUse() { _tile_loadconfig(&kTileConfiguration); }
  ~TilesInUse() { _tile_release(); }
};

/// Where a tile of codes is loaded from.
struct TileSource {
  const std::uint8_t* first;
  std::int64_t stride;
};

/// 16 rows of a product's left factor, a tile for each 64 k.
class TileRows {
 public:
  void set(const IntegerGemmTask& t, std::int64_t row) {
    stride_ = t.src_rows ? t.src_rows[row + 1] - t.src_rows[row] : t.src_stride;
    is_regular_ = true;
    for (std::int64_t i = 0; i < kTileRows; ++i) {
      rows_[i] = row_of(t, row + i);
      is_regular_ &= rows_[i] == rows_[0] + i * stride_;
    }
    const __mmask64 rest = first_bytes(t.segment_quads % kTileQuads * kQuad);
    const std::int64_t whole = t.segment_quads / kTileQuads * kTileDepth;
    if (rest)
      for (std::int64_t s = 0; s < t.segments; ++s) copy(s * t.segment_stride + whole, rest, tails_[s]);
  }

  /// The 64 k from `at` on.
  TileSource whole(std::int64_t at) {
    if (is_regular_) return {rows_[0] + at, stride_};
    copy(at, ~__mmask64{0}, copy_);
    return {copy_, kTileDepth};
  }
  TileSource tail(std::int64_t segment) const { return {tails_[segment], kTileDepth}; }

 private:
  void copy(std::int64_t at, __mmask64 mask, std::uint8_t* to) {
    for (std::int64_t i = 0; i < kTileRows; ++i)
      _mm512_store_si512(to + i * kTileDepth, _mm512_maskz_loadu_epi8(mask, rows_[i] + at));
    // Loading a tile is volatile assembly that does not say what memory it reads.
    __asm__ volatile("" : : : "memory");
  }

  alignas(64) std::uint8_t tails_[kMostSegments][kTileRows * kTileDepth];
  alignas(64) std::uint8_t copy_[kTileRows * kTileDepth];
  const std::uint8_t* rows_[kTileRows];
  std::int64_t stride_ = 0;
  bool is_regular_ = true;
};

/// Calls step(upper rows, lower rows, weights) for each 64 k.
template <typename Step>
void for_each_step(const IntegerGemmTask& t, TileRows* rows, const std::int8_t* weights, Step step) {
  const std::int64_t whole = t.segment_quads / kTileQuads, rest = t.segment_quads % kTileQuads;
  for (std::int64_t s = 0; s < t.segments; ++s) {
    for (std::int64_t i = 0; i < whole; ++i, weights += kTileQuads * kPanelQuad) {
      const std::int64_t at = s * t.segment_stride + i * kTileDepth;
      step(rows[0].whole(at), rows[1].whole(at), weights);
    }
    if (rest) step(rows[0].tail(s), rows[1].tail(s), weights);
    weights += rest * kPanelQuad;
  }
}

// The number of a tile is a part of the instruction, so that nothing can loop over tiles. Of two accumulators
// each product waits for the one before; four or six hide that.

struct TileSums {
  std::int32_t *upper, *lower;  // of the first panel
  std::int64_t row_bytes;
};

void multiply_panel(const IntegerGemmTask& t, TileRows* rows, const std::int8_t* w, const TileSums& to) {
  _tile_zero(0);
  _tile_zero(1);
  for_each_step(t, rows, w, [](TileSource upper, TileSource lower, const std::int8_t* weights) {
    _tile_loadd(4, upper.first, upper.stride);
    _tile_loadd(6, weights, kPanelQuad);
    _tile_dpbusd(0, 4, 6);
    _tile_loadd(5, lower.first, lower.stride);
    _tile_dpbusd(1, 5, 6);
  });
  _tile_stored(0, to.upper, to.row_bytes);
  _tile_stored(1, to.lower, to.row_bytes);
}

void multiply_2_panels(const IntegerGemmTask& t, TileRows* rows, const std::int8_t* w,
                       std::int64_t panel_size, const TileSums& to) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for_each_step(t, rows, w, [panel_size](TileSource upper, TileSource lower, const std::int8_t* weights) {
    _tile_loadd(4, upper.first, upper.stride);
    _tile_loadd(6, weights, kPanelQuad);
    _tile_dpbusd(0, 4, 6);
    _tile_loadd(7, weights + panel_size, kPanelQuad);
    _tile_dpbusd(1, 4, 7);
    _tile_loadd(5, lower.first, lower.stride);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  });
  _tile_stored(0, to.upper, to.row_bytes);
  _tile_stored(1, to.upper + kPanelColumns, to.row_bytes);
  _tile_stored(2, to.lower, to.row_bytes);
  _tile_stored(3, to.lower + kPanelColumns, to.row_bytes);
}

/// Six tiles of sums leave one for codes and one for weights: two of the latter are loaded twice.
void multiply_3_panels(const IntegerGemmTask& t, TileRows* rows, const std::int8_t* w,
                       std::int64_t panel_size, const TileSums& to) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for_each_step(t, rows, w, [panel_size](TileSource upper, TileSource lower, const std::int8_t* weights) {
    _tile_loadd(6, upper.first, upper.stride);
    _tile_loadd(7, weights, kPanelQuad);
    _tile_dpbusd(0, 6, 7);
    _tile_loadd(7, weights + panel_size, kPanelQuad);
    _tile_dpbusd(1, 6, 7);
    _tile_loadd(7, weights + 2 * panel_size, kPanelQuad);
    _tile_dpbusd(2, 6, 7);
    _tile_loadd(6, lower.first, lower.stride);
    _tile_dpbusd(5, 6, 7);
    _tile_loadd(7, weights + panel_size, kPanelQuad);
    _tile_dpbusd(4, 6, 7);
    _tile_loadd(7, weights, kPanelQuad);
    _tile_dpbusd(3, 6, 7);
  });
  _tile_stored(0, to.upper, to.row_bytes);
  _tile_stored(1, to.upper + kPanelColumns, to.row_bytes);
  _tile_stored(2, to.upper + 2 * kPanelColumns, to.row_bytes);
  _tile_stored(3, to.lower, to.row_bytes);
  _tile_stored(4, to.lower + kPanelColumns, to.row_bytes);
  _tile_stored(5, to.lower + 2 * kPanelColumns, to.row_bytes);
}

constexpr double kTileMacs = kTileRows * kPanelColumns * kTileDepth;

std::int32_t multiply_adds_of_tiles(std::int64_t rounds) {
  const TilesInUse tiles;
  alignas(64) std::int32_t sums[kTileRows * kPanelColumns];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (std::int64_t round = 0; round < rounds; ++round) {
    _tile_dpbusd(0, 4, 5);
    _tile_dpbusd(1, 4, 5);
    _tile_dpbusd(2, 4, 5);
    _tile_dpbusd(3, 4, 5);
  }
  _tile_stored(0, sums, kPanelColumns * 4);
  return sums[0];
}

/// Whether tiles are worth their configuration and the copies, of which there is room for a few.
bool fits_tiles(const IntegerGemmTask& t, std::int64_t rows) {
  return rows >= kTileRows && rows * t.panels >= 4 * kTileRows && t.segment_quads > kTileQuads / 2 &&
         t.segments <= kMostSegments;
}

/// The last tile of rows overlaps the one before it; of 16 rows both are the same.
void gemm_by_tiles(const IntegerGemmTask& t, std::int64_t row_begin, std::int64_t row_end) {
  if (!fits_tiles(t, row_end - row_begin)) return gemm(t, row_begin, row_end);
  const TilesInUse tiles;
  const std::int64_t panel_size = t.segments * t.segment_quads * kPanelQuad;
  TileRows rows[2];
  for (std::int64_t row = row_begin; row < row_end; row += 2 * kTileRows) {
    const std::int64_t last = row_end - kTileRows, upper = row < last ? row : last,
                       lower = upper + kTileRows < last ? upper + kTileRows : last;
    rows[0].set(t, upper);
    rows[1].set(t, lower);
    TileSums to{t.sums + (upper - row_begin) * t.sums_stride, t.sums + (lower - row_begin) * t.sums_stride,
                t.sums_stride * 4};
    const std::int8_t* w = t.weights;
    const auto next = [&](std::int64_t panels) {
      to.upper += panels * kPanelColumns;
      to.lower += panels * kPanelColumns;
      w += panels * panel_size;
    };
    std::int64_t panels = t.panels;
    for (; panels == 2 || panels >= 4; panels -= 2, next(2)) multiply_2_panels(t, rows, w, panel_size, to);
    if (panels == 3) multiply_3_panels(t, rows, w, panel_size, to);
    if (panels == 1) multiply_panel(t, rows, w, to);
  }
}
