// FQ-ViT (arXiv 2111.13824): min-max ranges, as cheap as can be, and two quantisers for what is special in
// transformers:
//
//   - powers of two for what matrix products read from a softmax (section 3.3, equation 12), with all codes
//     of `abits`: the product with the values becomes shifts. MobileViTv2 has no such product, so that its
//     partial plan is that of minmax
//   - in a full plan, power-of-two factors for what normalisations read (section 3.2; power_of_two.h), with 8
//     bits as in the paper, where other methods have 16 (full.h)
//
// Weights symmetric per output channel; activations affine, per tensor in the paper, here per channel before
// depthwise convolutions (calibrate.h), which its networks do not have.
#include "nn/shapes.h"
#include "quant/methods/methods.h"
#include "quant/power_of_two.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

constexpr int kNormBits = 8;

bool is_norm(const Node& node) {
  return std::holds_alternative<LayerNorm>(node.op) || std::holds_alternative<GroupNorm>(node.op);
}

/// Plans every normalisation.
void plan_norms(const Graph& graph, const Calibration& calibration, QuantPlan& plan) {
  const std::vector<Shape> shapes = infer_shapes(graph);
  std::vector<ObservedEdge> edges;
  std::vector<int> index_of(graph.nodes.size(), -1), axes;
  for (int i = 0; i < int(graph.nodes.size()); ++i) {
    const Node& node = graph.nodes[std::size_t(i)];
    if (!is_norm(node)) continue;
    index_of[std::size_t(i)] = int(edges.size());
    edges.push_back({{i, 0}});
    axes.push_back(std::holds_alternative<LayerNorm>(node.op) ? int(shapes[std::size_t(i)].size()) - 1 : 1);
  }
  std::vector<QParams> whole;
  for (const std::vector<Range>& range : observe_ranges(graph, edges, calibration))
    whole.push_back(affine_params(range, kNormBits));

  std::vector<std::vector<FactorErrors>> of_image(calibration.images.size(),
                                                  std::vector<FactorErrors>(edges.size()));
  parallel_for(std::int64_t(calibration.images.size()), calibration.threads, [&](std::int64_t image) {
    RunHooks hooks;
    hooks.on_edge = [&](Edge edge, const Tensor& x) -> std::optional<Tensor> {
      const int index = index_of[std::size_t(edge.node)];
      if (index >= 0)
        of_image[std::size_t(image)][std::size_t(index)] =
            factor_errors(x, whole[std::size_t(index)], axes[std::size_t(index)]);
      return std::nullopt;
    };
    run(graph, calibration.images[std::size_t(image)], hooks);
  });
  for (std::size_t i = 0; i < edges.size(); ++i) {
    FactorErrors total = of_image[0][i];
    for (std::size_t image = 1; image < of_image.size(); ++image) add(total, of_image[image][i]);
    const Node& node = graph.nodes[std::size_t(edges[i].edge.node)];
    plan.layers.push_back({node.name, op_name(node.op), {{power_of_two_factor(whole[i], axes[i], total)}}});
  }
}

}  // namespace

QuantizedGraph quantize_fqvit(const Graph& graph, const Calibration& calibration) {
  const std::vector<ObservedEdge> edges = quantizable_edges(graph);
  const EdgeRanges ranges = observe_ranges(graph, edges, calibration);
  QuantPlan plan = plan_of_ranges(graph, calibration, "fqvit", edges, ranges);
  for (LayerPlan& layer : plan.layers) {
    const Node& node = graph.nodes[std::size_t(find_node(graph, layer.node))];
    for (std::size_t slot = 0; slot < node.inputs.size(); ++slot)
      if (std::holds_alternative<Softmax>(graph.nodes[std::size_t(node.inputs[slot])].op))
        layer.inputs[slot].quantizer = logarithmic(1, 1, calibration.bits_of(node).input);
  }
  if (calibration.full) plan_norms(graph, calibration, plan);
  return apply_plan(graph, std::move(plan));
}

}  // namespace qhv
