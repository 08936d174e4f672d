#include "quant/reconstruction/pieces.h"

#include <algorithm>
#include <set>

#include "quant/plan.h"

namespace qhv {
namespace {

std::set<int> ends_of_layers(const Graph& graph) {
  std::set<int> cuts;
  for (const int node : quantizable_nodes(graph))
    if (has_weight(graph.nodes[std::size_t(node)])) cuts.insert(node + 1);
  cuts.erase(*cuts.rbegin());  // what follows the last layer belongs to it
  return cuts;
}

std::set<int> ends_of_blocks(const Graph& graph, bool bridges) {
  std::set<int> cuts;
  for (const Block& block : graph.blocks)
    if (block.kind != BlockKind::kStage && block.kind != BlockKind::kMobileVit &&
        block.kind != BlockKind::kBridge)
      cuts.insert({block.begin, block.end});
  for (const Block& block : graph.blocks) {
    if (!bridges || block.kind != BlockKind::kBridge) continue;
    cuts.erase(cuts.upper_bound(block.begin), cuts.lower_bound(block.end));
    cuts.insert({block.begin, block.end});
  }
  return cuts;
}

}  // namespace

std::vector<Piece> pieces_of(const Graph& graph, Pieces kind) {
  std::set<int> cuts =
      kind == Pieces::kLayers ? ends_of_layers(graph) : ends_of_blocks(graph, kind == Pieces::kBridges);
  const int count = int(graph.nodes.size());
  cuts.insert(count);
  const std::vector<int> last = last_uses(graph);
  std::vector<Piece> pieces;
  int begin = 1;
  for (const int end : cuts) {
    if (end <= begin) continue;
    Piece piece{make_unit(graph, {begin, end}), {}};
    for (int node = begin; node < end; ++node)
      if (last[std::size_t(node)] >= end) piece.outputs.push_back(node);
    pieces.push_back(std::move(piece));
    begin = end;
  }
  return pieces;
}

}  // namespace qhv
