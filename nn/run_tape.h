// A graph, or a stretch of it, on a tape: what training, sensitivity and block reconstruction differentiate.
//
// record() is the building block. It appends nodes begin .. end-1 of the graph to a tape; the values that
// they read from before the stretch, or instead of nodes in it, are given as Vars, and hooks may replace
// parameters and inputs of nodes by Vars of the caller: rounded weights, quantised activations.
//
// backpropagate() is the common case on top of it: a loss of the output, and its gradients. With `recompute`
// it keeps only the values between blocks and computes each block a second time when its gradient is due:
// memory for one block instead of all, for a third more time, and the same bits.
//
// Errors: std::invalid_argument, naming the node, for values that are missing or of a shape that does not
// fit.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "autograd/ops.h"
#include "nn/graph.h"
#include "nn/run.h"

namespace qhv {

enum class NormMode {
  kInference,  // BatchNorm by its running statistics
  kTraining    // BatchNorm by the statistics of the batch
};

struct RecordOptions {
  NodeRange range;
  NormMode mode = NormMode::kInference;
  std::vector<bool> wanted_params = {};  // by index: whose gradients are wanted; empty: none
  /// What stands for a parameter; nothing: the graph's value. Called once for each parameter that is used.
  std::function<std::optional<Var>(int param)> on_param = {};
  /// What one input of one node reads instead; nothing: what it would.
  std::function<std::optional<Var>(Edge, Var)> on_edge = {};
  /// Softmax attention as one operator, which is faster. Its scores and probabilities are then missing from
  /// Recorded::nodes, and on_edge must not be given.
  bool fuse_attention = false;
};

struct Recorded {
  std::vector<std::optional<Var>> nodes;      // by node index: what was computed or given
  std::vector<std::optional<Var>> params;     // by parameter index: what was used
  std::map<int, BatchStatistics> statistics;  // by node index: of the BatchNorms in training mode

  Var node(int index) const { return nodes[std::size_t(index)].value(); }
};

/// `given`: values by node index; a given node of the range is not computed.
Recorded record(Tape& tape, const Graph& graph, const std::map<int, Var>& given,
                const RecordOptions& options);

/// All parameters but running means and variances.
std::vector<bool> trainable_params(const Graph& graph);

struct BackpropagateOptions {
  NormMode mode = NormMode::kInference;
  std::vector<bool> wanted_params = {};  // by index; empty: none
  bool input = false;                    // whether the gradient of the input is wanted
  bool recompute = false;                // block by block
};

struct Backpropagated {
  double loss = 0;
  Tensor output;
  Tensor input;                // its gradient, if wanted
  std::vector<Tensor> params;  // gradients by parameter index; empty tensors where not wanted
  std::map<int, BatchStatistics> statistics;
};

/// Gradients of loss(output), a scalar on the output's tape, for x [B, C, H, W].
Backpropagated backpropagate(const Graph& graph, const Tensor& x, const std::function<Var(Var output)>& loss,
                             const BackpropagateOptions& options);

/// Where a graph is cut for recomputation: ends of blocks behind which only one value lives. Ends with the
/// graph's.
std::vector<int> recomputation_cuts(const Graph& graph);

}  // namespace qhv
