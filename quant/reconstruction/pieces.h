// What a reconstruction looks at in one piece: a stretch of the graph whose outputs are brought back to the
// float network's by choosing how its weights are rounded.
//
//   layers   a layer by itself (AdaRound, arXiv 2004.10568)
//   blocks   the stem, an inverted residual, the local part of a MobileViT block, a transformer layer, its
//   fusion
//            part, the head (BRECQ, arXiv 2102.05426)
//   bridges  the same, but the bridge block of each MobileViT block is a piece of its own: the gradient
//   passes from
//            its projection through the reshape to its convolution (the block of Q-HyViT, arXiv 2303.12557)
#pragma once

#include <vector>

#include "quant/unit.h"

namespace qhv {

enum class Pieces { kLayers, kBlocks, kBridges };

struct Piece {
  Unit unit;
  std::vector<int> outputs;  // nodes of the stretch that others read, or the graph's output; ascending
};

/// In graph order; they cover all nodes but the input. A piece may have no layer: what is only passed
/// through.
std::vector<Piece> pieces_of(const Graph& graph, Pieces kind);

}  // namespace qhv
