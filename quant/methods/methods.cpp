#include "quant/methods/methods.h"

#include "quant/fake_quant.h"

namespace qhv {
namespace {

constexpr Method kMethods[] = {
    {"minmax",
     "weights symmetric per channel; activations affine, per channel before depthwise convolutions, else "
     "per tensor",
     quantize_minmax},
    {"percentile", "as minmax, activations clipped at the percentile of least squared error",
     quantize_percentile},
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
  QuantizedGraph quantized = method.run(graph, calibration);
  validate(quantized.plan, quantized.graph);
  measure_sqnr(quantized, graph, calibration.images, calibration.threads);
  return quantized;
}

QuantizedGraph quantize_with_ranges(const Graph& graph, const Calibration& calibration, const char* method,
                                    const std::vector<std::vector<Range>>& ranges) {
  QuantizedGraph quantized{graph, {method, calibration.wbits, calibration.abits, {}}};
  const std::vector<ObservedEdge> edges = quantizable_edges(graph);
  std::size_t edge = 0;
  for (const int index : quantizable_nodes(graph)) {
    const Node& node = graph.nodes[std::size_t(index)];
    LayerPlan layer{node.name, op_name(node.op), {}, {}};
    for (std::size_t slot = 0; slot < node.inputs.size(); ++slot, ++edge)
      layer.inputs.push_back({affine_params(ranges[edge], calibration.abits, edges[edge].axis)});
    if (has_weight(node)) {
      const Tensor& weight = graph.params[std::size_t(node.params[0])].value;
      layer.weight = TensorPlan{symmetric_params(channel_ranges(weight, 0), calibration.wbits, 0)};
    }
    quantized.plan.layers.push_back(std::move(layer));
  }
  quantize_weights(quantized.graph, quantized.plan);
  return quantized;
}

}  // namespace qhv
