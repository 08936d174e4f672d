// FQ-ViT (arXiv 2111.13824): min-max ranges, as cheap as can be, and two quantisers for what is special in
// transformers: powers of two for softmax outputs (section 3.3, equation 12), with all codes of `abits`, so
// that the product with the values is shifts; and, where normalisations are quantised too, power-of-two
// factors for what they read (section 3.2; power_of_two.h).
//
// Weights symmetric per output channel; activations affine, per tensor in the paper, here per channel before
// depthwise convolutions (calibrate.h), which its networks do not have.
#include "quant/methods/methods.h"

namespace qhv {

QuantizedGraph quantize_fqvit(const Graph& graph, const Calibration& calibration) {
  const std::vector<ObservedEdge> edges = quantizable_edges(graph);
  const EdgeRanges ranges = observe_ranges(graph, edges, calibration);
  QuantPlan plan = plan_of_ranges(graph, calibration, "fqvit", edges, ranges);
  for (LayerPlan& layer : plan.layers) {
    const Node& node = graph.nodes[std::size_t(find_node(graph, layer.node))];
    for (std::size_t slot = 0; slot < node.inputs.size(); ++slot)
      if (std::holds_alternative<Softmax>(graph.nodes[std::size_t(node.inputs[slot])].op))
        layer.inputs[slot].quantizer = logarithmic(1, 1, calibration.abits);
  }
  return apply_plan(graph, std::move(plan));
}

}  // namespace qhv
