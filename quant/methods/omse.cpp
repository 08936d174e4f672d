// OMSE (Kravchik et al., ICCVW 2019; Choukroun et al., arXiv 1902.06822): ranges shrunk in steps of 1 %, at
// most 80 of them, to the least squared error of the tensor itself. Weights by output channel; activations
// over their histogram, but by channel, unshrunk, before depthwise convolutions.
#include <limits>

#include "quant/methods/methods.h"

namespace qhv {
namespace {

constexpr int kSteps = 80;

/// The range, shrunk by the number of percents that has the least error.
template <typename Error>
Range shrunk(const Range& range, Error error) {
  Range best = range;
  double least = std::numeric_limits<double>::infinity();
  for (int step = 0; step < kSteps; ++step) {
    const double factor = 1 - 0.01 * step;
    const Range candidate{range.lo * factor, range.hi * factor};
    const double e = error(candidate);
    if (e >= least) continue;
    least = e;
    best = candidate;
  }
  return best;
}

/// Sum of squared errors of one channel of a weight.
double channel_error(const Tensor& weight, std::int64_t channel, const QParams& q) {
  const std::int64_t size = weight.size() / weight.dim(0);
  double error = 0;
  for (std::int64_t i = channel * size; i < (channel + 1) * size; ++i) {
    const double e = double(weight[i]) - fake_quantize(double(weight[i]), q);
    error += e * e;
  }
  return error;
}

}  // namespace

QuantizedGraph quantize_omse(const Graph& graph, const Calibration& calibration) {
  const std::vector<ObservedEdge> edges = quantizable_edges(graph);
  const EdgeRanges ranges = clip_ranges(
      graph, calibration, edges, observe_ranges(graph, edges, calibration),
      [&](const Histogram& h, const Range& range, int bits) {
        return shrunk(range, [&](const Range& r) { return h.quantization_error(affine_params({r}, bits)); });
      });
  QuantPlan plan = plan_of_ranges(graph, calibration, "omse", edges, ranges);
  for (LayerPlan& layer : plan.layers) {
    if (!layer.weight) continue;
    const Node& node = graph.nodes[std::size_t(find_node(graph, layer.node))];
    const Tensor& weight = graph.params[std::size_t(node.params[0])].value;
    const int bits = calibration.bits_of(node).weight;
    std::vector<Range> of_channels = channel_ranges(weight, 0);
    for (std::size_t c = 0; c < of_channels.size(); ++c)
      of_channels[c] = shrunk(of_channels[c], [&](const Range& r) {
        return channel_error(weight, std::int64_t(c), symmetric_params({r}, bits));
      });
    layer.weight->quantizer = symmetric_params(of_channels, bits, 0);
  }
  return apply_plan(graph, std::move(plan));
}

}  // namespace qhv
