// One step of training, the same bits with any number of threads.
//
// A batch is split into shards of a fixed size. Each shard is a forward and backward pass of its own on one
// thread, with its own BatchNorm statistics (as on several devices: arXiv 1706.02677, section 2.3); the
// shards' gradients are added in their order. What follows is common to all: clipping by the global norm, the
// optimiser, running statistics
//
//   running = (1 - momentum) running + momentum mean over shards (variance unbiased, n / (n - 1)), momentum =
//   0.1
//
// and the exponential moving average of parameters and statistics, by which the network is evaluated.
//
// Loss: cross-entropy with label smoothing. A loss or gradient that is not finite is a DivergedError; nothing
// has been changed then.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "autograd/optim.h"
#include "nn/graph.h"

namespace qhv {

/// All that a run of training carries from step to step.
struct TrainingState {
  Graph graph;
  Optimizer optimizer;  // moments by index of the trainable parameters, in the graph's order
  std::vector<Tensor>
      average;  // of every parameter by index, running statistics included; empty: none is kept
};

struct StepOptions {
  double lr = 0;
  double label_smoothing = 0;
  double clip_norm = 0;    // largest norm of all gradients together; 0: no clipping
  double ema_decay = 0;    // of the average, after a warm-up (autograd/optim.h); read only if one is kept
  bool recompute = false;  // see run_tape.h
  int threads = 1;
};

struct Batch {
  Tensor images;  // [B, C, H, W]
  std::vector<int> labels;
};

struct StepResult {
  double loss = 0;  // mean over the batch
  int correct = 0;  // images whose largest logit is their label's
  int images = 0;
  double gradient_norm = 0;  // before clipping
};

struct DivergedError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The values that training changes by gradients, in the order of the optimiser's moments.
std::vector<Tensor*> trainable_values(Graph& graph);

/// Before the first step; the average, if wanted, begins at the graph's parameters.
TrainingState begin_training(Graph graph, const OptimizerOptions& options, bool keep_average);

/// One step over the shards 0 .. shards-1; load(shard) may be called by several threads at once.
StepResult training_step(TrainingState& state, int shards, const std::function<Batch(int shard)>& load,
                         const StepOptions& options);

/// The graph with the average in place of its parameters; without an average, as it is.
Graph averaged_graph(const TrainingState& state);

}  // namespace qhv
