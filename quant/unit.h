// What a search looks at in one piece: a stretch of nodes whose output is compared with the float network's.
//
// Q-HyViT (arXiv 2303.12557, section 3.4) judges a layer of a bridge block by the output of the block and
// every other layer by its own output. So a unit is a bridge block or a single quantizable node.
#pragma once

#include <vector>

#include "nn/graph.h"
#include "quant/quantizer.h"

namespace qhv {

struct Unit {
  NodeRange range;             // its output is that of the last node
  std::vector<int> layers;     // the quantizable nodes in it, ascending
  std::vector<int> externals;  // nodes before the range that it reads, ascending

  int output() const { return range.end - 1; }
};

/// Units in graph order: bridge blocks as wholes if `bridges`, every other quantizable node by itself.
std::vector<Unit> search_units(const Graph& graph, bool bridges);

/// The unit of these nodes.
Unit make_unit(const Graph& graph, NodeRange range);

/// A unit for one image: what it reads and what it puts out in the float network, and how much an error there
/// matters.
struct UnitSample {
  std::vector<Tensor> externals;  // as Unit::externals
  Tensor output;
  // The objective is sum_i importance_i e_i^2, plus (sum_i direction_i e_i)^2 for each direction and channel.
  Tensor importance;               // of the output's shape, >= 0; empty: all are 1
  std::vector<Tensor> directions;  // each of the output's shape
};

/// How the quantised layers of a unit are quantised, by the order of Unit::layers.
struct LayerQuantizers {
  std::vector<Quantizer> inputs;
  Quantizer weight;                 // Unquantized for a node without one
  std::vector<float> equalization;  // of the weight's input channels (equalize.h), or none
};

/// The axis of a layer's output along which its channels, or for a matrix product its heads, lie.
int output_axis(const Graph& graph, int node, int rank);

}  // namespace qhv
