// Every decision of a quantisation, as plain data that is printed, saved and compared: for each quantised
// layer the parameters of each input and of the weight.
//
// A method returns the plan together with a graph whose weights already lie on their grids, so that running
// it with fake_quant_hooks (fake_quant.h) is the quantised network.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "nn/graph.h"
#include "quant/quantizer.h"

namespace qhv {

struct TensorPlan {
  Quantizer quantizer;
  // What follows is measured on the calibration images (measure_plan) and decides nothing.
  double sqnr_db = 0;     // of this tensor alone
  double saturation = 0;  // share of the elements that are clipped
  int overflows = 0;      // channels whose seen range has an affine zero point that is no code (qparams.h)

  bool operator==(const TensorPlan&) const = default;
};

/// What a search found for a unit: its objective at the first parameters and at the chosen ones, and the
/// evaluations, of one candidate on one image, that it took, and that a search of all candidates would have.
struct SearchScore {
  double before = 0, after = 0;
  std::int64_t evaluations = 0, plain_evaluations = 0;
  bool operator==(const SearchScore&) const = default;
};

/// What reconstruction (reconstruction/reconstruct.h) made of a piece: its error, and how many weights
/// between two codes do not go to the nearer one.
struct PieceTrace {
  std::string name;                             // of the piece's last node
  double before = 0, corrected = 0, after = 0;  // corrected: by least squares, before gradients
  std::int64_t flipped = 0, free = 0;
  double regularizer =
      0;  // at the end of learning, mean of 1 - (2 h - 1)^2: how far roundings were from decided
  int iterations = 0;
  bool kept = false;      // the start, because the end was no better
  bool diverged = false;  // learning met a gradient that is not finite
  bool operator==(const PieceTrace&) const = default;
};

struct ReconstructionTrace {
  std::string kind = "none";
  int images = 0;
  std::vector<PieceTrace> pieces = {};
  bool operator==(const ReconstructionTrace&) const = default;
};

struct LayerPlan {
  std::string node;                // name of the node in the graph with BatchNorm folded
  std::string op;                  // op_name of it
  std::vector<TensorPlan> inputs;  // one for each input of the node
  std::optional<TensorPlan> weight = {};
  std::vector<float> equalization = {};  // a_c of equalize.h by input channel, or none
  double sqnr_db = 0;                    // of the layer's output with quantised inputs and weight
  std::optional<SearchScore> score = {};

  bool operator==(const LayerPlan&) const = default;
};

/// How a plan was made: with it and the calibration images it can be made again.
struct Provenance {
  int images = 0;
  std::uint64_t seed = 0;
  std::string signal = "none", search = "none";  // of methods that search
  bool operator==(const Provenance&) const = default;
};

struct QuantPlan {
  std::string method;
  int wbits = 8, abits = 8;
  std::vector<LayerPlan> layers;
  bool full = false;  // whether full_nodes are in it
  Provenance made = {};
  ReconstructionTrace reconstruction = {};

  bool operator==(const QuantPlan&) const = default;
};

struct QuantizedGraph {
  Graph graph;
  QuantPlan plan;
};

/// The nodes of the partial scheme of Q-HyViT (arXiv 2303.12557, section 4.1): every convolution, linear
/// layer and matrix product; their inputs and weights are quantised, everything else stays in floating point.
std::vector<int> quantizable_nodes(const Graph& graph);

/// The nodes that a full plan has besides: all others that compute with values and do not only move, clip or
/// sum them. Their inputs are quantised (full.h).
std::vector<int> full_nodes(const Graph& graph);

/// Whether params[0] of the node is a weight to quantise; its quantiser is a uniform one.
bool has_weight(const Node& node);

/// Whether each output channel is made of one input channel.
bool is_depthwise(const Node& node);

/// {"kind", "images", "pieces": [...]}.
nlohmann::json reconstruction_to_json(const ReconstructionTrace& trace);

/// As JSON, and back. `where` ("path: plan") opens the error message (std::runtime_error). A uniform
/// quantiser without scales is left to whoever knows them; validate() refuses it.
nlohmann::json plan_to_json(const QuantPlan& plan);
QuantPlan plan_from_json(const nlohmann::json& j, const std::string& where);

/// Throws std::invalid_argument, naming the layer, unless the plan fits the graph, which may be bare.
void validate(const QuantPlan& plan, const Graph& graph);

}  // namespace qhv
