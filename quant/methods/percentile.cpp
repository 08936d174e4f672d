// Percentile: the range of an activation leaves out the same share of values at either end, 0.1 %, 0.01 % or
// 0.001 %, whichever gives the least squared error over the histogram (the choice among the three is made as
// in RepQ-ViT, arXiv 2212.08254). Where ranges are per channel they stay whole: one channel is too few values
// for such shares.
#include <limits>

#include "quant/methods/methods.h"

namespace qhv {

Range percentile_range(const Histogram& histogram, int bits) {
  Range best;
  double least = std::numeric_limits<double>::infinity();
  for (const double fraction : {0.99999, 0.9999, 0.999}) {
    const Range range = histogram.quantile_range(fraction);
    const double error = histogram.quantization_error(affine_params({range}, bits));
    if (error < least) {
      least = error;
      best = range;
    }
  }
  return best;
}

QuantizedGraph quantize_percentile(const Graph& graph, const Calibration& calibration) {
  const std::vector<ObservedEdge> edges = quantizable_edges(graph);
  const EdgeRanges ranges = clip_ranges(
      graph, calibration, edges, observe_ranges(graph, edges, calibration),
      [&](const Histogram& histogram, const Range&, int bits) { return percentile_range(histogram, bits); });
  return apply_plan(graph, plan_of_ranges(graph, calibration, "percentile", edges, ranges));
}

}  // namespace qhv
