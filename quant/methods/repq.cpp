// RepQ-ViT (arXiv 2212.08254): quantise finely where channels differ, then reparametrise to what integers can
// do. Everything affine: weights per output channel over their whole range, inputs at the percentile of least
// squared error.
//
// What a LayerNorm or GroupNorm puts out is quantised per channel, with s_c and z_c over the whole range of
// the channel. Section 3.2 turns this into one scale and zero point: with r1 = s_c / s~ and r2 = z_c - z~ (s~
// and z~ the means) the norm's gamma and beta become gamma / r1 and (beta + s_c r2) / r1, the next layer's
// weight W r1 and its bias b - W (s_c r2). Here the norm stays as it is, and the same codes q_c are what the
// layer reads: r1 is its equalization (equalize.h), and of sum_c W_oc r1 s~ (q_c - z_c) the part with z_c
// does not depend on the input, so integer arithmetic adds it to the bias, with the weight as it was rounded:
// exactly, where the paper's bias has the weight before rounding.
//
// Softmax outputs: log-sqrt2 (section 3.3), with the largest value seen as the scale; the public code tries
// percentiles below it too.
#include "nn/shapes.h"
#include "quant/equalize.h"
#include "quant/methods/methods.h"

namespace qhv {
namespace {

/// The axis of the channels of what a node reads if that comes from a LayerNorm or GroupNorm straight into a
/// layer with dense weights; otherwise -1.
int normalized_axis(const Graph& graph, const std::vector<Shape>& shapes, const Node& node) {
  if (!has_weight(node) || is_depthwise(node)) return -1;
  const int source = node.inputs[0];
  const Op& op = graph.nodes[std::size_t(source)].op;
  if (!std::holds_alternative<LayerNorm>(op) && !std::holds_alternative<GroupNorm>(op)) return -1;
  return std::holds_alternative<Linear>(node.op) ? int(shapes[std::size_t(source)].size()) - 1 : 1;
}

/// r1 = s_c / s~. A channel that is always zero has no say in the mean and gets it as its scale: 1, its
/// placeholder (qparams.h), would make that channel's weights the largest of all.
std::vector<float> scale_ratios(QParams& per_channel, const std::vector<Range>& ranges) {
  const auto dead = [&](std::size_t c) { return ranges[c].lo == 0 && ranges[c].hi == 0; };
  double total = 0;
  int alive = 0;
  for (std::size_t c = 0; c < ranges.size(); ++c)
    if (!dead(c)) total += double(per_channel.scale[c]), ++alive;
  const double mean = alive ? total / alive : 1;
  std::vector<float> ratios;
  for (std::size_t c = 0; c < ranges.size(); ++c) {
    if (dead(c)) per_channel.scale[c] = float(mean);
    ratios.push_back(float(double(per_channel.scale[c]) / mean));
  }
  return ratios;
}

}  // namespace

QuantizedGraph quantize_repq(const Graph& graph, const Calibration& calibration) {
  const std::vector<Shape> shapes = infer_shapes(graph);
  std::vector<ObservedEdge> edges = quantizable_edges(graph);
  for (ObservedEdge& e : edges) {
    const int axis = normalized_axis(graph, shapes, graph.nodes[std::size_t(e.edge.node)]);
    if (axis >= 0) e.axis = axis;
  }
  const EdgeRanges seen = observe_ranges(graph, edges, calibration);
  const EdgeRanges ranges =
      clip_ranges(graph, calibration, edges, seen,
                  [&](const Histogram& h, const Range&, int bits) { return percentile_range(h, bits); });
  QuantPlan plan = plan_of_ranges(graph, calibration, "repq", edges, ranges);
  std::size_t edge = 0;
  for (LayerPlan& layer : plan.layers) {
    const Node& node = graph.nodes[std::size_t(find_node(graph, layer.node))];
    const LayerBits bits = calibration.bits_of(node);
    for (std::size_t slot = 0; slot < node.inputs.size(); ++slot, ++edge)
      if (std::holds_alternative<Softmax>(graph.nodes[std::size_t(node.inputs[slot])].op))
        layer.inputs[slot].quantizer = logarithmic(float(seen[edge].front().hi), 2, bits.input);
    if (!layer.weight) continue;
    if (normalized_axis(graph, shapes, node) >= 0)
      layer.equalization = scale_ratios(std::get<QParams>(layer.inputs[0].quantizer), ranges[edge - 1]);
    const Tensor& weight = graph.params[std::size_t(node.params[0])].value;
    layer.weight->quantizer =
        affine_params(channel_ranges(multiply_channels(weight, layer.equalization), 0), bits.weight, 0);
  }
  return apply_plan(graph, std::move(plan));
}

}  // namespace qhv
