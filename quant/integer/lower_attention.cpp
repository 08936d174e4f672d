#include "quant/integer/lower_attention.h"

#include <algorithm>
#include <cmath>

#include "quant/integer/products.h"

namespace qhv {
namespace {

constexpr double kLargestProduct = 255 * 255;

std::array<std::uint16_t, 256> exponents(double scale) {
  std::array<std::uint16_t, 256> e{};
  for (int d = 0; d < 256; ++d) e[std::size_t(d)] = std::uint16_t(std::lround(32767 * std::exp(-scale * d)));
  return e;
}

SoftmaxTask softmax_task(const Readers& readers, int node, const Encoding& p, std::size_t i) {
  const double inverse = 65536 / p.scale[i];
  if (!(inverse < 0x1p30 && inverse >= 0x1p16))
    readers.unsupported(node, concat("puts out probabilities of scale ", p.scale[i]));
  return {nullptr, std::uint32_t(std::llround(inverse)), p.zero[i], p.lo[i], p.hi[i]};
}

/// What the codes of a head's probabilities mean, and the most that a row of them adds up to.
struct Probabilities {
  double unit, largest_sum;
};

std::vector<Probabilities> lower_softmax(const Readers& readers, const AttentionMatch& match,
                                         const Encoding& logits, AttendCodes& step) {
  // Rounding at most doubles a probability.
  constexpr double kLargestSum = 2;
  const Quantizer& quantizer = readers.layer(match.context).inputs[0].quantizer;
  std::vector<Probabilities> result;
  if (std::holds_alternative<QParams>(quantizer)) {
    const Encoding p = readers.byte_encoding({match.context, 0}, step.heads);
    for (std::size_t h = 0; h < p.scale.size(); ++h) {
      step.exponents.push_back(exponents(logits.scale[h]));
      step.softmax.push_back(softmax_task(readers, match.softmax, p, h));
      result.push_back({p.scale[h], 255 * double(step.in.tokens)});
    }
    return result;
  }
  for (const double scale : logits.scale) {
    const PlanedSoftmax s = planed_softmax(quantizer, scale, readers.where(match.context));
    const double largest = kLargestSum / s.unit;
    if (largest * 255 >= 0x1p31)
      readers.unsupported(match.context, "reads probabilities in steps that could overflow 32 bits");
    result.push_back({s.unit, largest});
    step.planes.push_back(s);
  }
  return result;
}

}  // namespace

LoweredAttention<AttendCodes> lowered_attention(const Readers& readers, int node, ProjectedTokens tokens) {
  const AttentionMatch& match = readers.attention(node)->match;
  const std::int64_t heads = match.heads;
  const Encoding q = readers.encoding({match.scores, 0}, heads),
                 k = readers.encoding({match.scores, 1}, heads),
                 v = readers.encoding({match.context, 1}, heads),
                 logits = readers.byte_encoding({match.softmax, 0}, heads);
  require_sums_fit(readers, match.context, tokens.tokens);
  AttendCodes step{.in = std::move(tokens),
                   .heads = heads,
                   .head_size = match.width / heads,
                   .zero_q = q.zero,
                   .zero_k = k.zero,
                   .zero_v = v.zero};
  std::vector<Column> columns;
  for (std::size_t h = 0; h < std::size_t(heads); ++h) {
    const double size = double(step.head_size);
    Encoding of_head;
    for (std::int64_t t = 0; t < step.in.tokens; ++t) of_head.append(logits.slice(std::int64_t(h), 1));
    const Column score{match.scale * q.scale[h] * k.scale[h], 0, 0, kLargestProduct * size};
    step.scores.push_back(to_codes(std::vector<Column>(std::size_t(step.in.tokens), score), of_head,
                                   readers.where(match.scores)));
  }
  const std::vector<Probabilities> probabilities = lower_softmax(readers, match, logits, step);
  for (std::size_t h = 0; h < std::size_t(heads); ++h)
    columns.insert(columns.end(), std::size_t(step.head_size),
                   Column{probabilities[h].unit * v.scale[h], 0, 0, probabilities[h].largest_sum * 255});
  return {std::move(step), std::move(columns)};
}

LoweredAttention<SeparableAttendCodes> lowered_separable_attention(const Readers& readers, int node,
                                                                   ProjectedTokens tokens) {
  const AttentionMatch& match = readers.attention(node)->match;
  const Encoding k = readers.encoding({match.weighted, 0}, match.width),
                 p = readers.byte_encoding({match.weighted, 1}, 1),
                 logits = readers.encoding({match.softmax, 0}, 1),
                 v = readers.encoding({node, 0}, match.width),
                 context = readers.byte_encoding({node, 1}, match.width);
  require_sums_fit(readers, match.weighted, tokens.tokens);
  SeparableAttendCodes step{.in = std::move(tokens),
                            .channels = match.width,
                            .exponents = exponents(logits.scale[0]),
                            .softmax = softmax_task(readers, match.softmax, p, 0),
                            .zero_k = k.zero,
                            .zero_v = v.zero,
                            .context = {},
                            .zero_context = context.zero};
  std::vector<Column> sums, columns;
  for (std::size_t c = 0; c < k.scale.size(); ++c) {
    sums.push_back({k.scale[c] * p.scale[0], 0, 0, kLargestProduct * double(step.in.tokens)});
    columns.push_back({v.scale[c] * context.scale[c], 0, 0, kLargestProduct});
  }
  step.context = to_codes(sums, context, readers.where(node));
  return {std::move(step), std::move(columns)};
}

}  // namespace qhv
