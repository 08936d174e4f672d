// The reference interpreter: computes a graph node by node with the operators of tensor/ops.h, and lets the
// caller see and replace what flows. It is the oracle that faster executors are compared with; its
// operators in turn are compared with sums in double.
//
// It runs on the calling thread. A value is freed after its last reader.
#pragma once

#include <functional>
#include <optional>
#include <span>

#include "nn/graph.h"

namespace qhv {

/// Input `slot` of node `node`.
struct Edge {
  int node, slot;
};

struct RunHooks {
  /// Called before every node with the inputs that it would read. What it returns is the node's output: its
  /// operator does not run then, and on_edge is not called for it.
  std::function<std::optional<Tensor>(int node, std::span<const Tensor* const> inputs)> compute_node = {};
  /// Called with every input of every other node before the node runs. A returned tensor of the same shape is
  /// what this node reads instead; other readers of the same value are not touched.
  std::function<std::optional<Tensor>(Edge, const Tensor&)> on_edge = {};
  /// Called after every node with the inputs that it read and what it put out.
  std::function<void(int node, std::span<const Tensor* const> inputs, const Tensor& output)> on_node = {};
};

/// Output of one node from its inputs and parameters. `input` nodes return inputs[0].
Tensor run_node(const Node& node, std::span<const Tensor* const> inputs,
                std::span<const Tensor* const> params);

/// With the graph's parameters.
Tensor run_node(const Graph& graph, int node, std::span<const Tensor* const> inputs);

/// Output of the graph for x [B, C, H, W], with the extents that its Input node states.
Tensor run(const Graph& graph, const Tensor& x, const RunHooks& hooks = {});

}  // namespace qhv
