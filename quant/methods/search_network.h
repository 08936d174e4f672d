// A whole network by search, unit by unit: what the searching methods share. They differ in their recipe.
//
// Every unit is searched with the float network's inputs ("parallel" calibration, as in PTQ4ViT and Q-HyViT),
// starting from the first family of each tensor at the range that was seen. Factors of equalization come from
// half of the images and are judged on all: factors made for all of them leave no channel any headroom, and
// images that are not among them are clipped. Units are sampled in portions, so that the samples of all
// images fit into memory.
#pragma once

#include <functional>

#include "quant/calibrate.h"
#include "quant/methods/methods.h"
#include "quant/search.h"

namespace qhv {

/// What was seen of an input: a range for each index of `axis`, channels or heads. With equalization they are
/// ranges of x / a.
struct SeenInput {
  int axis = 1;
  std::vector<Range> ranges;
  std::vector<Range> half_ranges = {};  // on the first half of the images
  std::vector<float> equalization = {};
};

/// What was seen of a quantizable node.
struct SeenNode {
  std::vector<SeenInput> inputs;
  std::vector<Range> weight;  // by output channel, of w a; none for a node without weight
};

enum class Granularity { kTensor, kChannel };

/// The family of an input or a weight.
Family input_family(Scheme scheme, Granularity granularity, const SeenInput& seen, int bits);
Family weight_family(Scheme scheme, Granularity granularity, const SeenNode& seen, int bits, int group = 1);

/// The granularity of PTQ4ViT's weights and of what grew from its code: a range for each output
/// channel of a convolution, for each of q, k and v of a joint projection, and one for any other linear
/// layer.
Family operator_weight_family(const Node& node, const SeenNode& seen, int bits,
                              Scheme scheme = Scheme::kSymmetric);

struct SearchRecipe {
  const char* method;
  Metric metric = Metric::kError;
  Signal signal = Signal::kQuantized;
  bool bridges = true;  // whether bridge blocks are units
  /// Exponents of equalization (equalize.h) to choose from, before the search of a layer with a dense weight.
  std::vector<double> equalizations = {};
  SearchGrid grid = {};
  bool corrects_biases = false;  // at the end (bias_correction.h)
  /// What may be chosen for a node.
  std::function<SearchSpace(const Node& node, const SeenNode& seen, const Calibration& calibration)> space;
};

QuantizedGraph search_network(const Graph& graph, const Calibration& calibration, const SearchRecipe& recipe);

}  // namespace qhv
