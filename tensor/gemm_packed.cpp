// Rows of op(A) times panels of op(B), a stretch of k at a time, so that a panel stays in the cache while all
// rows pass over it. Operands that lie the wrong way are transposed into scratch memory. Where that is less
// work, the transposed product is computed instead, C^T = op(B)^T op(A)^T: the gradient of a weight has a
// long k and two operands of which one must be turned, and it had better be the narrow one.
#include "tensor/gemm_packed.h"

#include <algorithm>
#include <array>
#include <vector>

#include "tensor/kernels/aligned.h"

namespace qhv {
namespace {

/// Of a stretch of k.
constexpr std::int64_t kDepth = 256;
/// Of the panels that are packed at once: they stay in the second-level cache.
constexpr std::int64_t kPackedFloats = 64 << 10, kMaxPanels = 256;
/// Of a panel in any table.
constexpr std::int64_t kMaxColumns = 64;

/// A matrix [rows, columns], or its transpose [columns, rows], in memory.
struct Operand {
  const float* data;
  std::int64_t rows, columns, stride;
  bool transposed;

  const float* at(std::int64_t row, std::int64_t column) const {
    return data + (transposed ? column * stride + row : row * stride + column);
  }
};

Operand transposed(const Operand& x) { return {x.data, x.columns, x.rows, x.stride, !x.transposed}; }

struct Result {
  float* data;
  std::int64_t stride;
  bool accumulate;
  const float *column_bias, *row_bias;  // or null
};

/// Memory of one thread that keeps its size from product to product.
class Scratch {
 public:
  float* get(std::int64_t size) {
    if (floats_.size() < size) floats_ = AlignedFloats(size);
    return floats_.data();
  }

 private:
  AlignedFloats floats_;
};

/// The vectors of a panel with which the fewest rows are computed that are not stored.
int panel_vectors(const FloatKernels& kernels, std::int64_t rows, std::int64_t columns) {
  const auto computed = [&](int vectors) {
    const std::int64_t tile = kernels.tile_rows[vectors];
    return (rows + tile - 1) / tile * tile;
  };
  const std::int64_t needed = (columns + kernels.lanes - 1) / kernels.lanes;
  int best = int(std::min<std::int64_t>(kernels.max_vectors, needed));
  for (int vectors = best - 1; vectors > 0; --vectors)
    if (computed(vectors) < computed(best)) best = vectors;
  return best;
}

/// Rows k .. k + depth - 1 of b in columns start .. end - 1, in panels.
class PackedPanels {
 public:
  PackedPanels(const FloatKernels& kernels, const Operand& b, const float* bias, int vectors,
               std::int64_t depth)
      : kernels_(kernels),
        b_(b),
        bias_(bias),
        width_(vectors * kernels.lanes),
        count_(std::clamp<std::int64_t>(kPackedFloats / (depth * width_), 1, kMaxPanels)),
        floats_(scratch().get(count_ * depth * width_)) {}

  /// Columns that are packed at once.
  std::int64_t columns() const { return count_ * width_; }
  const GemmPanel* data() const { return panels_.data(); }

  /// Returns the number of panels.
  int pack(std::int64_t k, std::int64_t depth, std::int64_t start, std::int64_t end) {
    alignas(64) static constexpr float kNoBias[kMaxColumns] = {};
    panels_.clear();
    for (std::int64_t column = start; column < end; column += width_) {
      const int columns = int(std::min(width_, end - column)),
                vectors = (columns + kernels_.lanes - 1) / kernels_.lanes;
      float* dst = floats_ + (column - start) * depth;
      panels_.push_back({column, vectors, columns, dst, bias_ && k == 0 ? bias_ + column : kNoBias});
      if (b_.transposed) pack_turned(k, depth, column, columns, dst, vectors * kernels_.lanes);
    }
    if (!b_.transposed) kernels_.pack(b_.at(k, start), b_.stride, depth, end - start, width_, floats_);
    return int(panels_.size());
  }

 private:
  void pack_turned(std::int64_t k, std::int64_t depth, std::int64_t start, int columns, float* dst,
                   int width) {
    if (columns < width) std::fill_n(dst, depth * width, 0.0f);
    transpose_matrix(kernels_, b_.at(k, start), b_.stride, columns, depth, dst, width);
  }
  static Scratch& scratch() {
    static thread_local Scratch scratch;
    return scratch;
  }

  const FloatKernels& kernels_;
  const Operand& b_;
  const float* bias_;
  std::int64_t width_, count_;
  float* floats_;
  std::vector<GemmPanel> panels_;
};

/// All rows of a task. With many panels a tile of rows goes over all of them before the next one does, so
/// that each row of the result is written from its beginning to its end.
void multiply_rows(const FloatKernels& kernels, const GemmTask& task, std::int64_t rows) {
  constexpr int kManyPanels = 8;
  const std::int64_t tile = task.panel_count < kManyPanels ? rows : kernels.tile_rows[task.panels[0].vectors];
  for (std::int64_t row = 0; row < rows;) {
    const std::int64_t end = row + 2 * tile <= rows ? row + tile : rows;  // no tile of a few rows at the end
    kernels.gemm(task, row, end);
    row = end;
  }
}

/// The bias with zeros behind it up to a whole vector.
const float* padded_bias(const FloatKernels& kernels, const float* bias, std::int64_t size) {
  static thread_local Scratch scratch;
  if (!bias) return nullptr;
  float* padded = scratch.get(size + kernels.lanes);
  std::copy_n(bias, size, padded);
  std::fill_n(padded + size, kernels.lanes, 0.0f);
  return padded;
}

/// c [a.rows, b.columns] (+)= a b (+ bias)
void multiply(const FloatKernels& kernels, const Operand& a, const Operand& b, const Result& c) {
  static thread_local Scratch scratch;
  PackedPanels panels(kernels, b, padded_bias(kernels, c.row_bias, b.columns),
                      panel_vectors(kernels, a.rows, b.columns), std::min(kDepth, a.columns));
  for (std::int64_t k = 0; k < a.columns; k += kDepth) {
    const std::int64_t depth = std::min(kDepth, a.columns - k);
    GemmTask task{.src = a.at(0, k),
                  .src_stride = a.stride,
                  .segments = 1,
                  .segment_depth = depth,
                  .dst = c.data,
                  .dst_stride = c.stride,
                  .row_bias = k == 0 ? c.column_bias : nullptr,
                  .residual = c.accumulate || k > 0 ? c.data : nullptr,
                  .residual_stride = c.stride};
    if (a.transposed) {
      task.src_stride = aligned_size(depth);
      float* rows = scratch.get(a.rows * task.src_stride);
      transpose_matrix(kernels, a.at(0, k), a.stride, depth, a.rows, rows, task.src_stride);
      task.src = rows;
    }
    for (std::int64_t start = 0; start < b.columns; start += panels.columns()) {
      task.panel_count = panels.pack(k, depth, start, std::min(b.columns, start + panels.columns()));
      task.panels = panels.data();
      multiply_rows(kernels, task, a.rows);
    }
  }
}

}  // namespace

void transpose_matrix(const FloatKernels& kernels, const float* src, std::int64_t src_stride,
                      std::int64_t rows, std::int64_t columns, float* dst, std::int64_t dst_stride) {
  constexpr std::int64_t kRows = 64;
  std::array<std::int32_t, kRows> offsets;
  for (std::int64_t i = 0; i < std::min(rows, kRows); ++i)
    offsets[std::size_t(i)] = std::int32_t(i * src_stride);
  for (std::int64_t row = 0; row < rows; row += kRows)
    kernels.transpose(src + row * src_stride, offsets.data(), std::min(kRows, rows - row), columns, dst + row,
                      dst_stride);
}

void gemm_packed(const FloatKernels& kernels, const GemmShape& s, const float* a, const float* b, float* c) {
  const Operand left{a, s.m, s.k, s.a_stride, s.transpose_a}, right{b, s.k, s.n, s.b_stride, s.transpose_b};
  const std::int64_t direct = s.transpose_a * s.m * s.k + s.transpose_b * s.k * s.n,
                     turned = !s.transpose_b * s.k * s.n + !s.transpose_a * s.m * s.k + s.m * s.n;
  if (direct <= turned)
    return multiply(kernels, left, right, {c, s.c_stride, s.accumulate, s.column_bias, s.row_bias});

  static thread_local Scratch scratch;
  float* result = scratch.get(s.m * s.n);
  if (s.accumulate) transpose_matrix(kernels, c, s.c_stride, s.m, s.n, result, s.m);
  multiply(kernels, transposed(right), transposed(left),
           {result, s.m, s.accumulate, s.row_bias, s.column_bias});
  transpose_matrix(kernels, result, s.m, s.n, s.m, c, s.c_stride);
}

void gemm_packed(const GemmShape& shape, const float* a, const float* b, float* c) {
  static const FloatKernels& kernels = best_float_kernels();
  gemm_packed(kernels, shape, a, b, c);
}

std::string describe_packed() { return concat("own kernels, ", best_float_kernels().name); }

}  // namespace qhv
