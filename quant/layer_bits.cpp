#include "quant/layer_bits.h"

#include "quant/plan.h"

namespace qhv {

SpecialBits ends_in(const Graph& graph, int bits) {
  std::vector<const Node*> layers;
  for (const int node : quantizable_nodes(graph))
    if (has_weight(graph.nodes[std::size_t(node)])) layers.push_back(&graph.nodes[std::size_t(node)]);
  require(!layers.empty(), "quantize", "the graph has no layer with a weight");
  return {{layers.front()->name, {bits, bits}}, {layers.back()->name, {bits, bits}}};
}

}  // namespace qhv
