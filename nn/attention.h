// Softmax attention in a graph, which writes it down operator by operator.
#pragma once

#include <vector>

#include "nn/graph.h"

namespace qhv {

/// context = softmax(scores) v, scores = scale q k^T; nobody else reads scores or probabilities.
struct AttentionNodes {
  int scores = -1, probabilities = -1, context = -1;
};

/// All that lie in the range.
std::vector<AttentionNodes> find_attention(const Graph& graph, NodeRange range);

}  // namespace qhv
