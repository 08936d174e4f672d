#include "quant/methods/methods.h"

#include <algorithm>

#include "quant/fake_quant.h"
#include "quant/full.h"

namespace qhv {
namespace {

constexpr Method kMethods[] = {
    {"minmax",
     "weights symmetric per channel; activations affine, per channel before depthwise convolutions, else "
     "per tensor",
     quantize_minmax},
    {"percentile", "as minmax, activations clipped at the percentile of least squared error",
     quantize_percentile},
    {"omse", "as minmax, ranges shrunk to the least squared error of each tensor", quantize_omse},
    {"easyquant", "search of symmetric scales by the cosine similarity of outputs (arXiv 2006.16669)",
     quantize_easyquant},
    {"ptq4vit",
     "search of symmetric scales by gradient-weighted error, twin ranges after softmax and SiLU (arXiv "
     "2111.12293)",
     quantize_ptq4vit},
    {"fqvit", "as minmax, softmax outputs in powers of two (arXiv 2111.13824)", quantize_fqvit},
    {"repq",
     "as percentile, channels of normalised activations equalised, softmax outputs in powers of sqrt 2 "
     "(arXiv 2212.08254)",
     quantize_repq},
    {"hyq", "as minmax, channels before 1x1 convolutions scaled by learnt factors (HyQ, IJCAI 2024)",
     quantize_hyq},
    {"qhyvit-released", "the rules of Q-HyViT's public code: symmetric, granularity by operator",
     quantize_qhyvit_released},
    {"qhyvit",
     "search over scale, granularity and scheme; bridge blocks judged by their output (arXiv 2303.12557)",
     quantize_qhyvit},
    {"ablation-base", "qhyvit's base: symmetric, granularity by operator, scales of the ranges seen",
     quantize_ablation_base, true},
    {"ablation-scale", "the base, scales searched", quantize_ablation_scale, true},
    {"ablation-granularity", "the same, granularity searched", quantize_ablation_granularity, true},
    {"ablation-scheme", "the same, scheme searched", quantize_ablation_scheme, true},
    {"ablation-bridge", "the same, bridge blocks judged by their output", quantize_ablation_bridge, true},
    {"ablation-fisher", "the same, errors weighed by the Fisher information", quantize_ablation_fisher, true},
    {"ablation-equalization", "the same, equalization: all of qhyvit but bias correction",
     quantize_ablation_equalization, true},
};

}  // namespace

std::span<const Method> methods() { return kMethods; }

const Method& find_method(const std::string& name) {
  std::string known;
  for (const Method& method : kMethods) {
    if (name == method.name) return method;
    known += concat(known.empty() ? "" : ", ", method.name);
  }
  fail("quantize", concat("no method \"", name, "\" (there are ", known, ")"));
}

QuantizedGraph quantize_graph(const Method& method, const Graph& graph, const Calibration& calibration) {
  const std::span<const Tensor> images = calibration.images;
  require(!images.empty(), "calibrate", "no images");
  require(
      images.size() == 1 ||
          std::ranges::any_of(
              images, [&](const Tensor& x) { return !std::ranges::equal(x.values(), images[0].values()); }),
      "calibrate", "all ", images.size(), " images are the same");
  QuantizedGraph quantized = method.run(graph, calibration);
  QuantPlan& plan = quantized.plan;
  if (calibration.full) add_full_layers(plan, graph, calibration);
  std::ranges::sort(plan.layers, {}, [&](const LayerPlan& layer) { return find_node(graph, layer.node); });
  plan.full = calibration.full;
  plan.made.images = int(calibration.images.size());
  plan.made.seed = calibration.seed;
  validate(plan, quantized.graph);
  measure_plan(quantized, graph, calibration.images, calibration.threads);
  return quantized;
}

QuantPlan plan_of_ranges(const Graph& graph, const Calibration& calibration, const char* method,
                         const std::vector<ObservedEdge>& edges, const EdgeRanges& ranges) {
  QuantPlan plan{method, calibration.wbits, calibration.abits, {}};
  std::size_t edge = 0;
  for (const int index : quantizable_nodes(graph)) {
    const Node& node = graph.nodes[std::size_t(index)];
    const LayerBits bits = calibration.bits_of(node);
    LayerPlan layer{node.name, op_name(node.op), {}, {}};
    for (std::size_t slot = 0; slot < node.inputs.size(); ++slot, ++edge)
      layer.inputs.push_back({affine_params(ranges[edge], bits.input, edges[edge].axis)});
    if (has_weight(node)) {
      const Tensor& weight = graph.params[std::size_t(node.params[0])].value;
      layer.weight = TensorPlan{symmetric_params(channel_ranges(weight, 0), bits.weight, 0)};
    }
    plan.layers.push_back(std::move(layer));
  }
  return plan;
}

QuantizedGraph apply_plan(const Graph& graph, QuantPlan plan) {
  QuantizedGraph quantized{graph, std::move(plan)};
  quantize_weights(quantized.graph, quantized.plan);
  return quantized;
}

EdgeRanges clip_ranges(const Graph& graph, const Calibration& calibration,
                       const std::vector<ObservedEdge>& edges, const EdgeRanges& seen,
                       const std::function<Range(const Histogram&, const Range&, int bits)>& clip) {
  std::vector<std::size_t> per_tensor;  // indices into edges
  std::vector<ObservedEdge> clipped_edges;
  std::vector<Range> whole_ranges;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    if (edges[i].axis >= 0) continue;
    per_tensor.push_back(i);
    clipped_edges.push_back(edges[i]);
    whole_ranges.push_back(seen[i].front());
  }
  const std::vector<Histogram> histograms =
      observe_histograms(graph, clipped_edges, whole_ranges, calibration);
  EdgeRanges ranges = seen;
  for (std::size_t i = 0; i < per_tensor.size(); ++i) {
    const Node& node = graph.nodes[std::size_t(clipped_edges[i].edge.node)];
    ranges[per_tensor[i]] = {clip(histograms[i], whole_ranges[i], calibration.bits_of(node).input)};
  }
  return ranges;
}

}  // namespace qhv
