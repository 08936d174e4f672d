#include "quant/integer/attend_codes.h"

#include <algorithm>

#include "quant/integer/round_up.h"

namespace qhv {
namespace {

constexpr std::int64_t kBlock = 32;  // tokens at a time

/// Scratch memory handed out piece by piece.
class Pieces {
 public:
  explicit Pieces(std::uint8_t* memory) : next_(memory) {}
  template <typename T>
  T* take(std::int64_t count) {
    T* piece = reinterpret_cast<T*>(next_);
    next_ += size_of<T>(count);
    return piece;
  }
  template <typename T>
  static std::int64_t size_of(std::int64_t count) {
    return aligned_bytes(count * std::int64_t(sizeof(T)) + kSlack);
  }

 private:
  std::uint8_t* next_;
};

std::int64_t packed_size(std::int64_t depth, std::int64_t columns) {
  return round_up(columns, kPanelColumns) * round_up(depth, kQuad);
}

}  // namespace

std::int64_t attend_scratch(const AttendCodes& op) {
  const std::int64_t tokens = op.in.tokens, size = op.head_size, widest = std::max(tokens, size);
  return Pieces::size_of<std::int8_t>(packed_size(size, tokens)) +
         Pieces::size_of<std::int8_t>(packed_size(tokens, size)) +
         Pieces::size_of<std::int32_t>(tokens) +                                                // rows of q
         2 * Pieces::size_of<std::int32_t>(tokens) + 2 * Pieces::size_of<std::int32_t>(size) +  // zero points
         Pieces::size_of<std::int64_t>(tokens) +
         Pieces::size_of<std::int32_t>(kBlock * round_up(widest, kPanelColumns)) +
         2 * Pieces::size_of<std::uint8_t>(kBlock * round_up(tokens, kQuad)) + store_scratch(kBlock * size);
}

void attend_head(const AttendCodes& op, const Store& store, const IntegerKernels& kernels,
                 const ImageMemory& memory, const std::uint8_t* x, const std::int32_t* pixels,
                 std::int64_t head, std::uint8_t* scratch) {
  const std::int64_t tokens = op.in.tokens, size = op.head_size, row = op.in.channels;
  const auto h = std::size_t(head);
  const std::uint8_t *q = x + op.in.q + head * size, *k = x + op.in.k + head * size,
                     *v = x + op.in.v + head * size;
  Pieces pieces(scratch);
  auto* keys = pieces.take<std::int8_t>(packed_size(size, tokens));
  auto* values = pieces.take<std::int8_t>(packed_size(tokens, size));
  auto* rows = pieces.take<std::int32_t>(tokens);
  auto *query_terms = pieces.take<std::int32_t>(tokens), *key_terms = pieces.take<std::int32_t>(tokens),
       *value_factors = pieces.take<std::int32_t>(size), *value_terms = pieces.take<std::int32_t>(size);
  const std::int64_t score_stride = round_up(tokens, kPanelColumns),
                     context_stride = round_up(size, kPanelColumns), code_stride = round_up(tokens, kQuad);
  auto* offsets = pieces.take<std::int64_t>(tokens);
  auto* sums = pieces.take<std::int32_t>(kBlock * std::max(score_stride, context_stride));
  auto *codes = pieces.take<std::uint8_t>(kBlock * code_stride),
       *probabilities = pieces.take<std::uint8_t>(kBlock * code_stride);
  auto* for_store = pieces.take<std::uint8_t>(0);

  for (std::int64_t t = 0; t < tokens; ++t) rows[t] = std::int32_t(pixels[t] * row);
  kernels.pack_rows(k, rows, tokens, size, keys, key_terms);
  kernels.pack_columns(v, rows, tokens, size, values, value_terms);
  const std::int32_t zero_k = op.zero_k[h] - 128, zero_v = op.zero_v[h] - 128;
  std::fill_n(value_factors, size, zero_v);
  // What zero points of queries take from the sums of a key goes into the offset of its column, and what
  // those of keys take from a query's into a term of its row.
  RequantizeTask to_scores = op.scores[h].task();
  for (std::int64_t t = 0; t < tokens; ++t) {
    const std::int32_t term = op.zero_q[h] * (key_terms[t] - std::int32_t(size) * zero_k);
    offsets[t] = to_scores.offset[t] - std::int64_t(term) * to_scores.multiplier[t];
    query_terms[t] = zero_k * kernels.row_sum(q + rows[t], size);
  }
  to_scores.offset = offsets;
  for (std::int64_t i = 0; i < size; ++i)
    value_terms[i] = op.softmax[h].zero * (value_terms[i] - std::int32_t(tokens) * zero_v);

  SoftmaxTask softmax = op.softmax[h];
  softmax.exponents = op.exponents[h].data();
  for (std::int64_t begin = 0; begin < tokens; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, tokens - begin);
    kernels.gemm({.src = q,
                  .src_rows = rows,
                  .segment_quads = round_up(size, kQuad) / kQuad,
                  .weights = keys,
                  .panels = score_stride / kPanelColumns,
                  .sums = sums,
                  .sums_stride = score_stride},
                 begin, begin + count);
    to_scores.row_terms = query_terms + begin;
    kernels.requantize_u8(to_scores, sums, score_stride, count, tokens, codes, code_stride);
    for (std::int64_t i = 0; i < count; ++i)
      kernels.softmax(softmax, codes + i * code_stride, tokens, probabilities + i * code_stride);
    kernels.gemm({.src = probabilities,
                  .src_stride = code_stride,
                  .segment_quads = code_stride / kQuad,
                  .weights = values,
                  .panels = context_stride / kPanelColumns,
                  .sums = sums,
                  .sums_stride = context_stride},
                 0, count);
    for (std::int64_t i = 0; i < count; ++i)
      kernels.subtract_zeros(sums + i * context_stride, size,
                             kernels.row_sum(probabilities + i * code_stride, tokens), value_factors,
                             value_terms);
    store_block(store, kernels, memory,
                {.sums = sums,
                 .stride = context_stride,
                 .rows = count,
                 .row_indices = pixels + begin,
                 .column = head * size,
                 .columns = size},
                for_store);
  }
}

std::int64_t attend_separably_scratch(const SeparableAttendCodes& op) {
  return 2 * Pieces::size_of<std::uint8_t>(op.in.tokens) + Pieces::size_of<std::int32_t>(op.channels) +
         Pieces::size_of<std::uint8_t>(op.channels) + Pieces::size_of<std::int32_t>(kBlock * op.channels) +
         store_scratch(kBlock * op.channels);
}

void attend_position(const SeparableAttendCodes& op, const Store& store, const IntegerKernels& kernels,
                     const ImageMemory& memory, const std::uint8_t* x, const std::int32_t* pixels,
                     std::uint8_t* scratch) {
  const std::int64_t tokens = op.in.tokens, channels = op.channels;
  Pieces pieces(scratch);
  auto *scores = pieces.take<std::uint8_t>(tokens), *weights = pieces.take<std::uint8_t>(tokens);
  auto* context = pieces.take<std::int32_t>(channels);
  auto* codes = pieces.take<std::uint8_t>(channels);
  auto* sums = pieces.take<std::int32_t>(kBlock * channels);
  auto* for_store = pieces.take<std::uint8_t>(0);
  const auto at = [&](std::int64_t t) { return x + pixels[t] * op.in.channels; };

  for (std::int64_t t = 0; t < tokens; ++t) scores[t] = at(t)[op.in.q];
  SoftmaxTask softmax = op.softmax;
  softmax.exponents = op.exponents.data();
  kernels.softmax(softmax, scores, tokens, weights);
  std::fill_n(context, channels, 0);
  for (std::int64_t t = 0; t < tokens; ++t)
    kernels.add_multiple(at(t) + op.in.k, op.zero_k.data(), channels, weights[t] - softmax.zero, context);
  kernels.requantize_u8(op.context.task(), context, channels, 1, channels, codes, channels);
  for (std::int64_t c = 0; c < channels; ++c) context[c] = codes[c] - op.zero_context[std::size_t(c)];
  for (std::int64_t begin = 0; begin < tokens; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, tokens - begin);
    for (std::int64_t i = 0; i < count; ++i)
      kernels.multiply(at(begin + i) + op.in.v, op.zero_v.data(), context, channels, sums + i * channels);
    store_block(
        store, kernels, memory,
        {.sums = sums, .stride = channels, .rows = count, .row_indices = pixels + begin, .columns = channels},
        for_store);
  }
}

}  // namespace qhv
