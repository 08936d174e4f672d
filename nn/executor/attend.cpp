#include "nn/executor/attend.h"

#include <algorithm>
#include <array>
#include <utility>

namespace qhv {
namespace {

constexpr std::int64_t kWidest = 64;               // columns of any table's panel
alignas(64) constexpr float kZeros[kWidest] = {};  // the bias of a product without one

/// Queries that are attended to at a time: as many as a panel has columns, or few enough that all blocks are
/// as large.
std::int64_t query_block(const FloatKernels& kernels, std::int64_t tokens) {
  const std::int64_t widest = std::int64_t(kernels.lanes) * kernels.max_vectors,
                     blocks = (tokens + widest - 1) / widest, even = (tokens + blocks - 1) / blocks;
  return (even + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
}

/// Rows of q, k or v of one head at one position.
struct Part {
  const float* base;
  const std::int32_t* offsets;
};

/// In place, rows of `size` elements that are `stride` apart.
void round_rows(const RoundRows& round, float* x, std::int64_t rows, std::int64_t size, std::int64_t stride,
                std::int64_t head) {
  if (size == stride) return round(x, x, rows, size, head);
  for (std::int64_t t = 0; t < rows; ++t) round(x + t * stride, x + t * stride, 1, size, head);
}

class HeadAttention {
 public:
  HeadAttention(const Attention& op, const FloatKernels& kernels, std::int64_t head, float* scratch)
      : op_(op),
        kernels_(kernels),
        head_(head),
        tokens_(op.in.tokens),
        size_(op.head_size),
        width_(query_block(kernels, op.in.tokens)),
        next_(scratch) {}

  void run(const float* x, const std::int32_t* pixels, float* y) {
    std::int32_t* rows = take_offsets(tokens_);  // of the tokens in x
    for (std::int64_t t = 0; t < tokens_; ++t) rows[t] = std::int32_t(pixels[t] * op_.in.channels);
    const Part q = part(x, rows, op_.in.q, op_.round_q), k = part(x, rows, op_.in.k, op_.round_k),
               v = part(x, rows, op_.in.v, op_.round_v);
    const std::int64_t value_stride = aligned_size(tokens_);
    float* values = take(size_ * value_stride);  // v^T
    float* queries = take(size_ * width_);       // q^T of a block
    float* scores = take(tokens_ * width_);      // [keys, queries]
    float* context = take(size_ * width_);       // [channels, queries]
    float* factors = take(width_);
    std::array<std::int32_t, kWidest> places;  // of the block's queries in y
    kernels_.transpose(v.base, v.offsets, tokens_, size_, values, value_stride);
    for (std::int64_t begin = 0; begin < tokens_; begin += width_) {
      const std::int64_t count = std::min(width_, tokens_ - begin);
      // Columns without a query keep what was there; nothing reads what becomes of it.
      kernels_.transpose(q.base, q.offsets + begin, count, size_, queries, width_);
      multiply({.src = k.base, .src_rows = k.offsets, .segment_depth = size_}, tokens_, queries, scores);
      kernels_.softmax_columns(scores, tokens_, width_, op_.scale, factors);
      if (op_.round_probabilities) round_probabilities(scores, count, factors);
      multiply({.src = values, .src_stride = value_stride, .segment_depth = tokens_}, size_, scores, context);
      for (std::int64_t t = 0; t < count; ++t)
        places[std::size_t(t)] = std::int32_t((pixels[begin + t] * op_.heads + head_) * size_);
      kernels_.scatter_columns(context, width_, size_, count, factors, places.data(), y);
    }
  }

 private:
  float* take(std::int64_t floats) { return std::exchange(next_, next_ + aligned_size(floats)); }

  std::int32_t* take_offsets(std::int64_t count) { return reinterpret_cast<std::int32_t*>(take(count)); }

  /// Offsets of rows that follow each other.
  static const std::int32_t* rows_of(std::int64_t stride, std::int64_t count, std::int32_t* offsets) {
    for (std::int64_t t = 0; t < count; ++t) offsets[t] = std::int32_t(t * stride);
    return offsets;
  }

  /// As it stands, or a rounded copy.
  Part part(const float* x, const std::int32_t* rows, std::int64_t first, const RoundRows& round) {
    const float* base = x + first + head_ * size_;
    if (!round) return {base, rows};
    float* copy = take(tokens_ * size_);
    for (std::int64_t t = 0; t < tokens_; ++t) std::copy_n(base + rows[t], size_, copy + t * size_);
    round(copy, copy, tokens_, size_, head_);
    return {copy, rows_of(size_, tokens_, take_offsets(tokens_))};
  }

  /// dst [rows, width] = what the task reads times `columns` [depth, width].
  void multiply(GemmTask task, std::int64_t rows, const float* columns, float* dst) const {
    const GemmPanel panel{0, int(width_ / kernels_.lanes), int(width_), columns, kZeros};
    task.panels = &panel;
    task.panel_count = 1;
    task.dst = dst;
    task.dst_stride = width_;
    kernels_.gemm(task, 0, rows);
  }

  /// Rounding goes by rows of probabilities, and wants them normalised.
  void round_probabilities(float* scores, std::int64_t count, float* factors) {
    const std::int64_t stride = aligned_size(tokens_);
    float* rows = next_;
    auto* offsets = reinterpret_cast<std::int32_t*>(rows + width_ * stride);
    kernels_.scale_shift(scores, scores, tokens_, width_, factors, kZeros);
    kernels_.transpose(scores, rows_of(width_, tokens_, offsets), tokens_, count, rows, stride);
    round_rows(op_.round_probabilities, rows, count, tokens_, stride, head_);
    kernels_.transpose(rows, rows_of(stride, count, offsets), count, tokens_, scores, width_);
    std::fill_n(factors, width_, 1.0f);
  }

  const Attention& op_;
  const FloatKernels& kernels_;
  const std::int64_t head_, tokens_, size_, width_;
  float* next_;  // scratch that is free
};

}  // namespace

std::int64_t attention_scratch(const Attention& op, const FloatKernels& kernels) {
  const std::int64_t tokens = op.in.tokens, size = op.head_size, width = query_block(kernels, tokens),
                     copies = (op.round_q ? 1 : 0) + (op.round_k ? 1 : 0) + (op.round_v ? 1 : 0);
  return aligned_size(tokens) + copies * (aligned_size(tokens * size) + aligned_size(tokens)) +
         size * aligned_size(tokens) + aligned_size(size * width) + aligned_size(tokens * width) +
         aligned_size(size * width) + aligned_size(width) +
         (op.round_probabilities ? width * aligned_size(tokens) + aligned_size(std::max(tokens, width)) : 0);
}

void attend_head(const Attention& op, const FloatKernels& kernels, const float* x, const std::int32_t* pixels,
                 std::int64_t head, float* y, float* scratch) {
  HeadAttention(op, kernels, head, scratch).run(x, pixels, y);
}

}  // namespace qhv
