#include "nn/executor/attention_pattern.h"

namespace qhv {
namespace {

/// Follows a pattern from its end towards its beginning.
class Matcher {
 public:
  Matcher(const Graph& graph, int last) : graph_(graph), readers_(graph.nodes.size(), 0) {
    for (const Node& node : graph.nodes)
      for (const int input : node.inputs) ++readers_[std::size_t(input)];
    match.nodes.push_back(last);
  }

  /// The operator of `node` if it is of this kind and, unless it is the last one, has one reader; or null.
  template <typename Op>
  const Op* take(int node) {
    const Op* op = node < 0 ? nullptr : std::get_if<Op>(&graph_.nodes[std::size_t(node)].op);
    if (!op || node == match.nodes.front()) return op;
    if (readers_[std::size_t(node)] != 1) return nullptr;
    match.nodes.push_back(node);
    return op;
  }
  int input(int node, std::size_t slot = 0) const { return graph_.nodes[std::size_t(node)].inputs[slot]; }

  /// The slice of the joint projection that `node` is.
  const Slice* take_part(int node, int axis) {
    const Slice* slice = take<Slice>(node);
    if (!slice || slice->axis != axis) return nullptr;
    if (match.source >= 0 && match.source != input(node)) return nullptr;
    match.source = input(node);
    return slice;
  }

  AttentionMatch match;

 private:
  const Graph& graph_;
  std::vector<int> readers_;
};

}  // namespace

std::optional<AttentionMatch> match_attention(const Graph& graph, int merge) {
  Matcher m(graph, merge);
  if (!m.take<MergeHeads>(merge)) return std::nullopt;
  const int context = m.input(merge);
  const MatMul* product = m.take<MatMul>(context);
  if (!product || product->transpose_b || product->scale != 1) return std::nullopt;
  const int probabilities = m.input(context, 0);
  if (!m.take<Softmax>(probabilities)) return std::nullopt;
  const int scores = m.input(probabilities);
  const MatMul* similarity = m.take<MatMul>(scores);
  if (!similarity || !similarity->transpose_b) return std::nullopt;
  m.match.scale = similarity->scale;
  m.match.scores = scores;
  m.match.softmax = probabilities;
  m.match.context = context;

  const Slice* parts[3];
  const int heads[3] = {m.input(scores, 0), m.input(scores, 1), m.input(context, 1)};
  for (int i = 0; i < 3; ++i) {
    const SplitHeads* split = m.take<SplitHeads>(heads[i]);
    if (!split || (i > 0 && split->heads != m.match.heads)) return std::nullopt;
    m.match.heads = split->heads;
    parts[i] = m.take_part(m.input(heads[i]), 2);
    if (!parts[i]) return std::nullopt;
  }
  m.match.q = parts[0]->begin;
  m.match.k = parts[1]->begin;
  m.match.v = parts[2]->begin;
  m.match.width = parts[2]->end - parts[2]->begin;
  return m.match;
}

std::optional<AttentionMatch> match_separable_attention(const Graph& graph, int gate) {
  Matcher m(graph, gate);
  if (!m.take<Mul>(gate)) return std::nullopt;
  const int relu = m.input(gate, 0), context = m.input(gate, 1);
  if (!m.take<Relu>(relu) || !m.take<SumLast>(context)) return std::nullopt;
  const int weighted = m.input(context);
  if (!m.take<Mul>(weighted)) return std::nullopt;
  const int scores = m.input(weighted, 1);
  if (!m.take<Softmax>(scores)) return std::nullopt;
  const Slice* v = m.take_part(m.input(relu), 1);
  const Slice* k = v ? m.take_part(m.input(weighted, 0), 1) : nullptr;
  const Slice* q = k ? m.take_part(m.input(scores), 1) : nullptr;
  if (!q || q->end - q->begin != 1) return std::nullopt;
  m.match.softmax = scores;
  m.match.weighted = weighted;
  m.match.q = q->begin;
  m.match.k = k->begin;
  m.match.v = v->begin;
  m.match.width = v->end - v->begin;
  return m.match;
}

}  // namespace qhv
