// Min-max: every range is the one that was seen (Krishnamoorthi, arXiv 1806.08342, section 3).
#include "quant/methods/methods.h"

namespace qhv {

QuantizedGraph quantize_minmax(const Graph& graph, const Calibration& calibration) {
  const std::vector<ObservedEdge> edges = quantizable_edges(graph);
  const EdgeRanges ranges = observe_ranges(graph, edges, calibration);
  return apply_plan(graph, plan_of_ranges(graph, calibration, "minmax", edges, ranges));
}

}  // namespace qhv
