#include "nn/passes.h"

#include <cmath>

namespace qhv {
namespace {

const Tensor& param(const Graph& graph, const Node& node, std::size_t i) {
  return graph.params[std::size_t(node.params[i])].value;
}

/// The convolution whose only reader is this BatchNorm, or -1.
int foldable_conv(const Graph& graph, int norm, const std::vector<int>& readers) {
  if (!std::holds_alternative<BatchNorm>(graph.nodes[std::size_t(norm)].op)) return -1;
  const int source = graph.nodes[std::size_t(norm)].inputs[0];
  const bool conv = std::holds_alternative<Conv2d>(graph.nodes[std::size_t(source)].op);
  return conv && readers[std::size_t(source)] == 1 ? source : -1;
}

void scale_conv(const Graph& graph, const Node& conv, const Node& norm, Tensor& weight, Tensor& bias) {
  const double eps = std::get<BatchNorm>(norm.op).eps;
  const std::int64_t window = weight.size() / weight.dim(0);
  for (std::int64_t o = 0; o < weight.dim(0); ++o) {
    const double factor = param(graph, norm, 0)[o] / std::sqrt(double(param(graph, norm, 3)[o]) + eps);
    const double old_bias = conv.params.size() > 1 ? double(param(graph, conv, 1)[o]) : 0.0;
    for (real& w : weight.values().subspan(std::size_t(o * window), std::size_t(window)))
      w = real(w * factor);
    bias[o] = real(param(graph, norm, 1)[o] + (old_bias - param(graph, norm, 2)[o]) * factor);
  }
}

}  // namespace

Graph fold_batch_norm(Graph graph) {
  const std::size_t count = graph.nodes.size();
  std::vector<int> readers(count, 0);
  for (const Node& node : graph.nodes)
    for (const int input : node.inputs) ++readers[std::size_t(input)];
  std::vector<int> norm_of(count, -1);  // for a convolution the BatchNorm that it swallows
  std::vector<bool> swallowed(count, false);
  for (std::size_t i = 0; i < count; ++i)
    if (const int conv = foldable_conv(graph, int(i), readers); conv >= 0) {
      norm_of[std::size_t(conv)] = int(i);
      swallowed[i] = true;
    }

  Graph folded;
  folded.bare = graph.bare;
  std::vector<int> new_index(count);
  for (std::size_t i = 0; i < count; ++i) {
    Node node = graph.nodes[i];
    if (swallowed[i]) {
      new_index[i] = new_index[std::size_t(node.inputs[0])];
      continue;
    }
    const auto add_param = [&](const std::string& role, Tensor value) {
      node.params.push_back(int(folded.params.size()));
      folded.params.push_back({node.name + "." + role, std::move(value)});
    };
    for (int& input : node.inputs) input = new_index[std::size_t(input)];
    node.params.clear();
    if (norm_of[i] >= 0) {
      auto& conv = std::get<Conv2d>(node.op);
      conv.bias = true;
      Tensor weight = std::move(graph.params[std::size_t(graph.nodes[i].params[0])].value), bias;
      if (!graph.bare) {
        bias = Tensor({conv.out});
        scale_conv(graph, graph.nodes[i], graph.nodes[std::size_t(norm_of[i])], weight, bias);
      }
      add_param("weight", std::move(weight));
      add_param("bias", std::move(bias));
    } else {
      for (const int p : graph.nodes[i].params) {
        node.params.push_back(int(folded.params.size()));
        folded.params.push_back(std::move(graph.params[std::size_t(p)]));
      }
    }
    new_index[i] = int(folded.nodes.size());
    folded.nodes.push_back(std::move(node));
  }
  for (Block block : graph.blocks) {
    block.begin = new_index[std::size_t(block.begin)];
    block.end = new_index[std::size_t(block.end - 1)] + 1;
    folded.blocks.push_back(std::move(block));
  }
  return folded;
}

}  // namespace qhv
