#include "quant/unit.h"

#include <algorithm>
#include <set>

#include "quant/plan.h"

namespace qhv {

Unit make_unit(const Graph& graph, NodeRange range) {
  Unit unit{range, {}, {}};
  std::set<int> externals;
  for (int i = range.begin; i < range.end; ++i)
    for (const int input : graph.nodes[std::size_t(i)].inputs)
      if (input < range.begin) externals.insert(input);
  unit.externals.assign(externals.begin(), externals.end());
  for (const int node : quantizable_nodes(graph))
    if (node >= range.begin && node < range.end) unit.layers.push_back(node);
  return unit;
}

std::vector<Unit> search_units(const Graph& graph, bool bridges) {
  std::vector<Unit> units;
  const auto bridge_at = [&](int node) -> const Block* {
    for (const Block& block : graph.blocks)
      if (bridges && block.kind == BlockKind::kBridge && node >= block.begin && node < block.end)
        return &block;
    return nullptr;
  };
  for (const int node : quantizable_nodes(graph)) {
    if (!units.empty() && node < units.back().range.end) continue;  // within the bridge before
    const Block* bridge = bridge_at(node);
    units.push_back(
        make_unit(graph, bridge ? NodeRange{bridge->begin, bridge->end} : NodeRange{node, node + 1}));
  }
  return units;
}

int output_axis(const Graph& graph, int node, int rank) {
  return std::holds_alternative<Linear>(graph.nodes[std::size_t(node)].op) ? rank - 1 : 1;
}

}  // namespace qhv
