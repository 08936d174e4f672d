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
  return round_up(columns, kPanelColumns) * round_up(depth, kQuad) + kPackedSlack;
}

/// Softmax attention of one head, kBlock queries at a time.
class HeadAttention {
 public:
  HeadAttention(const AttendCodes& op, const IntegerKernels& kernels, const std::uint8_t* x,
                const std::int32_t* pixels, std::int64_t head, std::uint8_t* scratch)
      : op_(op),
        kernels_(kernels),
        head_(std::size_t(head)),
        tokens_(op.in.tokens),
        size_(op.head_size),
        q_(x + op.in.q + head * size_),
        score_stride_(round_up(tokens_, kPanelColumns)),
        context_stride_(round_up(size_, kPanelColumns)),
        code_stride_(round_up(tokens_, kQuad)) {
    Pieces pieces(scratch);
    keys_ = pieces.take<std::int8_t>(packed_size(size_, tokens_));
    values_ = pieces.take<std::int8_t>(packed_size(tokens_, size_));
    rows_ = pieces.take<std::int32_t>(tokens_);
    query_terms_ = pieces.take<std::int32_t>(tokens_);
    key_terms_ = pieces.take<std::int32_t>(tokens_);
    value_factors_ = pieces.take<std::int32_t>(size_);
    value_terms_ = pieces.take<std::int32_t>(size_);
    offsets_ = pieces.take<std::int64_t>(tokens_);
    sums_ = pieces.take<std::int32_t>(kBlock * std::max(score_stride_, context_stride_));
    codes_ = pieces.take<std::uint8_t>(kBlock * code_stride_);
    probabilities_ = pieces.take<std::uint8_t>(kBlock * code_stride_);
    if (has_planes()) {
      high_ = pieces.take<std::uint8_t>(kBlock * code_stride_);
      high_sums_ = pieces.take<std::int32_t>(kBlock * context_stride_);
    }
    for_store_ = pieces.take<std::uint8_t>(0);
    for (std::int64_t t = 0; t < tokens_; ++t) rows_[t] = std::int32_t(pixels[t] * op.in.channels);
    pack_keys(x + op.in.k + head * size_);
    pack_values(x + op.in.v + head * size_);
  }

  void run(const Store& store, const ImageMemory& memory, const std::int32_t* pixels) {
    for (std::int64_t begin = 0; begin < tokens_; begin += kBlock) {
      const std::int64_t count = std::min(kBlock, tokens_ - begin);
      score(begin, count);
      normalize(count);
      if (has_planes())
        gather_planes(count);
      else
        gather(count);
      store_block(store, kernels_, memory,
                  {.sums = sums_,
                   .stride = context_stride_,
                   .rows = count,
                   .row_indices = pixels + begin,
                   .column = std::int64_t(head_) * size_,
                   .columns = size_},
                  for_store_);
    }
  }

 private:
  bool has_planes() const { return !op_.planes.empty(); }
  std::int32_t zero_of_probabilities() const { return has_planes() ? 0 : op_.softmax[head_].zero; }

  // What zero points of queries take from the sums of a key goes into the offset of its column, and what
  // those of keys take from a query's into a term of its row.
  void pack_keys(const std::uint8_t* k) {
    kernels_.pack_rows(k, rows_, tokens_, size_, keys_, key_terms_);
    const std::int32_t zero_k = op_.zero_k[head_] - 128;
    to_scores_ = op_.scores[head_].task();
    for (std::int64_t t = 0; t < tokens_; ++t) {
      const std::int32_t term = op_.zero_q[head_] * (key_terms_[t] - std::int32_t(size_) * zero_k);
      offsets_[t] = to_scores_.offset[t] - std::int64_t(term) * to_scores_.multiplier[t];
      query_terms_[t] = zero_k * kernels_.row_sum(q_ + rows_[t], size_);
    }
    to_scores_.offset = offsets_;
  }

  void pack_values(const std::uint8_t* v) {
    kernels_.pack_columns(v, rows_, tokens_, size_, values_, value_terms_);
    const std::int32_t zero_v = op_.zero_v[head_] - 128;
    std::fill_n(value_factors_, size_, zero_v);
    for (std::int64_t i = 0; i < size_; ++i)
      value_terms_[i] = zero_of_probabilities() * (value_terms_[i] - std::int32_t(tokens_) * zero_v);
  }

  /// The codes of softmax's input.
  void score(std::int64_t begin, std::int64_t count) {
    kernels_.gemm({.src = q_,
                   .src_rows = rows_,
                   .segment_quads = round_up(size_, kQuad) / kQuad,
                   .weights = keys_,
                   .panels = score_stride_ / kPanelColumns,
                   .sums = sums_,
                   .sums_stride = score_stride_},
                  begin, begin + count);
    to_scores_.row_terms = query_terms_ + begin;
    kernels_.requantize_u8(to_scores_, sums_, score_stride_, count, tokens_, codes_, code_stride_);
  }

  void normalize(std::int64_t count) {
    if (has_planes()) {
      for (std::int64_t i = 0; i < count * code_stride_; i += code_stride_)
        softmax_planes(op_.planes[head_], codes_ + i, tokens_, probabilities_ + i, high_ + i);
      return;
    }
    SoftmaxTask softmax = op_.softmax[head_];
    softmax.exponents = op_.exponents[head_].data();
    kernels_.softmax(softmax, codes_, code_stride_, count, tokens_, probabilities_, code_stride_);
  }

  void multiply_values(const std::uint8_t* probabilities, std::int64_t count, std::int32_t* sums) const {
    kernels_.gemm({.src = probabilities,
                   .src_stride = code_stride_,
                   .segment_quads = code_stride_ / kQuad,
                   .weights = values_,
                   .panels = context_stride_ / kPanelColumns,
                   .sums = sums,
                   .sums_stride = context_stride_},
                  0, count);
  }

  /// Takes the zero points of values from a row of sums, `row` being the sum of its probabilities' codes.
  void subtract_zeros(std::int64_t i, std::int32_t row) {
    kernels_.subtract_zeros(sums_ + i * context_stride_, size_, row, value_factors_, value_terms_);
  }

  void gather(std::int64_t count) {
    multiply_values(probabilities_, count, sums_);
    for (std::int64_t i = 0; i < count; ++i)
      subtract_zeros(i, kernels_.row_sum(probabilities_ + i * code_stride_, tokens_));
  }

  void gather_planes(std::int64_t count) {
    multiply_values(probabilities_, count, sums_);
    multiply_values(high_, count, high_sums_);
    const int shift = op_.planes[head_].shift;
    add_plane(high_sums_, count * context_stride_, shift, sums_);
    for (std::int64_t i = 0; i < count; ++i)
      subtract_zeros(i, kernels_.row_sum(probabilities_ + i * code_stride_, tokens_) +
                            (kernels_.row_sum(high_ + i * code_stride_, tokens_) << shift));
  }

  const AttendCodes& op_;
  const IntegerKernels& kernels_;
  const std::size_t head_;
  const std::int64_t tokens_, size_;
  const std::uint8_t* q_;
  const std::int64_t score_stride_, context_stride_, code_stride_;
  RequantizeTask to_scores_;
  // Scratch memory.
  std::int8_t *keys_, *values_;
  std::int32_t *rows_, *query_terms_, *key_terms_, *value_factors_, *value_terms_;
  std::int64_t* offsets_;
  std::int32_t *sums_, *high_sums_ = nullptr;
  std::uint8_t *codes_, *probabilities_, *high_ = nullptr, *for_store_;
};

}  // namespace

std::int64_t attend_scratch(const AttendCodes& op) {
  const std::int64_t tokens = op.in.tokens, size = op.head_size, widest = std::max(tokens, size),
                     codes = Pieces::size_of<std::uint8_t>(kBlock * round_up(tokens, kQuad)),
                     of_planes =
                         codes + Pieces::size_of<std::int32_t>(kBlock * round_up(size, kPanelColumns));
  return Pieces::size_of<std::int8_t>(packed_size(size, tokens)) +
         Pieces::size_of<std::int8_t>(packed_size(tokens, size)) +
         Pieces::size_of<std::int32_t>(tokens) +                                                // rows of q
         2 * Pieces::size_of<std::int32_t>(tokens) + 2 * Pieces::size_of<std::int32_t>(size) +  // zero points
         Pieces::size_of<std::int64_t>(tokens) +
         Pieces::size_of<std::int32_t>(kBlock * round_up(widest, kPanelColumns)) + 2 * codes +
         (op.planes.empty() ? 0 : of_planes) + store_scratch(kBlock * size);
}

void attend_head(const AttendCodes& op, const Store& store, const IntegerKernels& kernels,
                 const ImageMemory& memory, const std::uint8_t* x, const std::int32_t* pixels,
                 std::int64_t head, std::uint8_t* scratch) {
  HeadAttention(op, kernels, x, pixels, head, scratch).run(store, memory, pixels);
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
  kernels.softmax(softmax, scores, tokens, 1, tokens, weights, tokens);
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
