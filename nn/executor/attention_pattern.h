// Recognises the attention of MobileViT in a graph, which writes it down operator by operator.
#pragma once

#include <optional>
#include <vector>

#include "nn/graph.h"

namespace qhv {

/// What a match covers. Its nodes have no readers outside of it, but for the last one.
struct AttentionMatch {
  std::vector<int> nodes;            // all, the last one included
  int scores = -1, context = -1;     // the matrix products, of softmax attention
  int softmax = -1, weighted = -1;   // and of separable attention: softmax(q), and its product with k
  int source = -1;                   // the joint projection: rows of q, k and v
  std::int64_t q = 0, k = 0, v = 0;  // where they begin in a row
  std::int64_t width = 0;            // channels of k and v
  int heads = 1;
  double scale = 1;
};

/// softmax(scale q k^T) v, whose last node is this MergeHeads.
std::optional<AttentionMatch> match_attention(const Graph& graph, int merge);

/// relu(v) * sum(k * softmax(q)), whose last node is this Mul.
std::optional<AttentionMatch> match_separable_attention(const Graph& graph, int gate);

}  // namespace qhv
