// The post-training quantisation methods, one file each. A method sees the float graph (BatchNorm folded) and
// the calibration images, and returns the quantised graph with its plan. To add one, write its file and give
// it a line in the table of methods.cpp.
#pragma once

#include <span>
#include <string>

#include "quant/calibrate.h"
#include "quant/plan.h"

namespace qhv {

struct Method {
  const char* name;
  const char* summary;
  QuantizedGraph (*run)(const Graph& graph, const Calibration& calibration);
  bool ablation = false;  // qhyvit with ingredients left out: not for use, but to see what each one gives
};

std::span<const Method> methods();

/// Throws std::invalid_argument, listing the methods, if there is none of this name.
const Method& find_method(const std::string& name);

/// Runs the method, checks its plan against the graph and fills in the plan's figures.
QuantizedGraph quantize_graph(const Method& method, const Graph& graph, const Calibration& calibration);

QuantizedGraph quantize_minmax(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_percentile(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_omse(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_easyquant(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_ptq4vit(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_fqvit(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_repq(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_hyq(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_qhyvit_released(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_qhyvit(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_ablation_base(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_ablation_scale(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_ablation_granularity(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_ablation_scheme(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_ablation_bridge(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_ablation_fisher(const Graph& graph, const Calibration& calibration);
QuantizedGraph quantize_ablation_equalization(const Graph& graph, const Calibration& calibration);

// What the simple methods share.

/// The plan of these ranges: inputs affine over `ranges[i]`, which were seen at edges[i], with the edge's
/// axis; weights symmetric per output channel, scaled to their largest magnitude. The edges are those of
/// quantizable_edges(graph), some perhaps with another axis.
using EdgeRanges = std::vector<std::vector<Range>>;
QuantPlan plan_of_ranges(const Graph& graph, const Calibration& calibration, const char* method,
                         const std::vector<ObservedEdge>& edges, const EdgeRanges& ranges);

/// The graph with its weights on the plan's grids.
QuantizedGraph apply_plan(const Graph& graph, QuantPlan plan);

/// The ranges seen, those of edges per tensor replaced by clip(histogram over the seen range, seen range,
/// bits of the input).
EdgeRanges clip_ranges(const Graph& graph, const Calibration& calibration,
                       const std::vector<ObservedEdge>& edges, const EdgeRanges& seen,
                       const std::function<Range(const Histogram&, const Range&, int bits)>& clip);

/// The range that leaves out 0.1 %, 0.01 % or 0.001 % of the values at either end, whichever has the least
/// squared error under affine quantisation.
Range percentile_range(const Histogram& histogram, int bits);

}  // namespace qhv
