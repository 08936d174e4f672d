// Layers that are quantised in other bits than the rest of the network.
//
// Most of what is published below 8 bits leaves the first and the last layer at 8 (as BRECQ does, arXiv
// 2102.05426): they have few of the weights and the most of the loss.
#pragma once

#include <map>
#include <string>

#include "nn/graph.h"

namespace qhv {

/// Bits of a layer's weight and of its inputs.
struct LayerBits {
  int weight = 8, input = 8;
  bool operator==(const LayerBits&) const = default;
};

/// By the name of the layer's node.
using SpecialBits = std::map<std::string, LayerBits>;

/// The first and the last layer with a weight, in `bits` each.
SpecialBits ends_in(const Graph& graph, int bits);

}  // namespace qhv
