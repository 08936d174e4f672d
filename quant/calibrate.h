// Statistics of activations: the float network runs over the calibration images while observers look at
// chosen edges.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "nn/run.h"
#include "quant/layer_bits.h"
#include "quant/observer.h"
#include "quant/search.h"
#include "quant/sensitivity.h"

namespace qhv {

/// What every method is given. Images are [1, C, H, W], preprocessed.
struct Calibration {
  std::span<const Tensor> images;
  int wbits = 8, abits = 8;
  SpecialBits special_bits = {};  // of layers that have others
  int threads = 1;
  std::uint64_t seed = 0;
  std::optional<Signal> signal = {};  // of the methods that weigh errors by sensitivity; nothing: their own
  Flavour flavour = Flavour::kFast;   // of those that search
  bool full = false;                  // whether normalisations, SiLU, softmax, additions are quantised too
  /// Called from one thread at a time with the stage's name and the share done, 0 to 1.
  std::function<void(const char* stage, double done)> progress = {};
  // A search can be interrupted: it hands out the layers found so far after each unit, and takes those of an
  // earlier run, from the same search, as found.
  std::function<void(const QuantPlan& so_far)> save = {};
  const QuantPlan* found = nullptr;

  LayerBits bits_of(const Node& node) const;
};

/// An edge to look at, and how finely: as one tensor (axis -1) or by the index of an axis.
struct ObservedEdge {
  Edge edge;
  int axis = -1;
};

/// All inputs of all quantizable nodes, in graph order: per tensor, but per channel where a depthwise
/// convolution reads. There each output channel has one input channel, so an integer kernel takes the
/// channel's scale into its requantisation at no cost; and there trained channels differ most, by factors of
/// a hundred and more, so that one scale for all destroys the network. Q-HyViT's released code has the same
/// rule.
std::vector<ObservedEdge> quantizable_edges(const Graph& graph);

/// For each edge its range over all images, or one for each index of its axis. A NaN or infinite activation
/// throws std::invalid_argument, naming the node.
std::vector<std::vector<Range>> observe_ranges(const Graph& graph, const std::vector<ObservedEdge>& edges,
                                               const Calibration& calibration);

/// Histogram of each edge over `ranges[i]`. The edges are per tensor.
std::vector<Histogram> observe_histograms(const Graph& graph, const std::vector<ObservedEdge>& edges,
                                          const std::vector<Range>& ranges, const Calibration& calibration);

}  // namespace qhv
