// Statistics of activations: the float network runs over the calibration images while observers look at
// chosen edges.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "nn/run.h"
#include "quant/observer.h"

namespace qhv {

/// What every method is given. Images are [1, C, H, W], preprocessed.
struct Calibration {
  std::span<const Tensor> images;
  int wbits = 8, abits = 8;
  int threads = 1;
  /// Called from one thread at a time with the stage's name and the share done, 0 to 1.
  std::function<void(const char* stage, double done)> progress;
};

/// All inputs of all quantizable nodes, in graph order.
std::vector<Edge> quantizable_edges(const Graph& graph);

/// Range of each edge over all images. A NaN or infinite activation throws std::invalid_argument, naming the
/// node.
std::vector<Range> observe_ranges(const Graph& graph, const std::vector<Edge>& edges,
                                  const Calibration& calibration);

/// Histogram of each edge over its range.
std::vector<Histogram> observe_histograms(const Graph& graph, const std::vector<Edge>& edges,
                                          const std::vector<Range>& ranges, const Calibration& calibration);

}  // namespace qhv
