#include "nn/attention.h"

namespace qhv {

std::vector<AttentionNodes> find_attention(const Graph& graph, NodeRange range) {
  std::vector<int> readers(graph.nodes.size(), 0);
  for (const Node& node : graph.nodes)
    for (const int input : node.inputs) ++readers[std::size_t(input)];
  const auto inner = [&](int node) { return node >= range.begin && readers[std::size_t(node)] == 1; };

  std::vector<AttentionNodes> found;
  for (int context = range.begin; context < range.end; ++context) {
    const Node& product = graph.nodes[std::size_t(context)];
    const MatMul* op = std::get_if<MatMul>(&product.op);
    if (!op || op->transpose_b || op->scale != 1 || !inner(product.inputs[0])) continue;
    const Node& probabilities = graph.nodes[std::size_t(product.inputs[0])];
    if (!std::holds_alternative<Softmax>(probabilities.op) || !inner(probabilities.inputs[0])) continue;
    const MatMul* similarity = std::get_if<MatMul>(&graph.nodes[std::size_t(probabilities.inputs[0])].op);
    if (similarity && similarity->transpose_b)
      found.push_back({probabilities.inputs[0], product.inputs[0], context});
  }
  return found;
}

}  // namespace qhv
