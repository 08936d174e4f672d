#include "quant/fake_quant.h"

#include "quant/metrics.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

/// For each node its layer in the plan, or -1.
std::vector<int> layer_of_node(const Graph& graph, const QuantPlan& plan) {
  std::vector<int> layer(graph.nodes.size(), -1);
  for (std::size_t i = 0; i < plan.layers.size(); ++i)
    layer[std::size_t(find_node(graph, plan.layers[i].node))] = int(i);
  return layer;
}

struct LayerSqnr {
  std::vector<Sqnr> inputs;
  Sqnr output;
};

}  // namespace

RunHooks fake_quant_hooks(const Graph& graph, const QuantPlan& plan) {
  std::vector<std::vector<QParams>> params(
      graph.nodes.size());  // [node][slot], empty where nothing is quantised
  for (const LayerPlan& layer : plan.layers)
    for (const TensorPlan& input : layer.inputs)
      params[std::size_t(find_node(graph, layer.node))].push_back(input.qparams);
  RunHooks hooks;
  hooks.on_edge = [params = std::move(params)](Edge edge, const Tensor& x) -> std::optional<Tensor> {
    const auto& of_node = params[std::size_t(edge.node)];
    if (of_node.empty()) return std::nullopt;
    return fake_quantize(x, of_node[std::size_t(edge.slot)]);
  };
  return hooks;
}

void quantize_weights(Graph& graph, const QuantPlan& plan) {
  for (const LayerPlan& layer : plan.layers) {
    if (!layer.weight) continue;
    const Node& node = graph.nodes[std::size_t(find_node(graph, layer.node))];
    Tensor& weight = graph.params[std::size_t(node.params[0])].value;
    weight = fake_quantize(weight, layer.weight->qparams);
  }
}

void measure_sqnr(QuantizedGraph& quantized, const Graph& reference, std::span<const Tensor> images,
                  int threads) {
  QuantPlan& plan = quantized.plan;
  const std::vector<int> layer_of = layer_of_node(reference, plan);
  std::vector<std::vector<LayerSqnr>> of_image(images.size(), std::vector<LayerSqnr>(plan.layers.size()));
  parallel_for(std::int64_t(images.size()), threads, [&](std::int64_t image) {
    RunHooks hooks;
    hooks.on_node = [&](int node, std::span<const Tensor* const> inputs, const Tensor& output) {
      const int index = layer_of[std::size_t(node)];
      if (index < 0) return;
      const LayerPlan& layer = plan.layers[std::size_t(index)];
      LayerSqnr& sqnr = of_image[std::size_t(image)][std::size_t(index)];
      std::vector<Tensor> rounded;
      std::vector<const Tensor*> pointers;
      for (std::size_t slot = 0; slot < inputs.size(); ++slot) {
        rounded.push_back(fake_quantize(*inputs[slot], layer.inputs[slot].qparams));
        sqnr.inputs.emplace_back().add(*inputs[slot], rounded.back());
      }
      for (const Tensor& t : rounded) pointers.push_back(&t);
      sqnr.output.add(output, run_node(quantized.graph, node, pointers));
    };
    run(reference, images[std::size_t(image)], hooks);
  });

  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    LayerPlan& layer = plan.layers[i];
    std::vector<Sqnr> inputs(layer.inputs.size());
    Sqnr output;
    for (const auto& layers : of_image) {
      for (std::size_t slot = 0; slot < inputs.size(); ++slot) inputs[slot].add(layers[i].inputs[slot]);
      output.add(layers[i].output);
    }
    for (std::size_t slot = 0; slot < inputs.size(); ++slot) layer.inputs[slot].sqnr_db = inputs[slot].db();
    layer.sqnr_db = output.db();
    if (!layer.weight) continue;
    const int param = reference.nodes[std::size_t(find_node(reference, layer.node))].params[0];
    Sqnr weight;
    weight.add(reference.params[std::size_t(param)].value, quantized.graph.params[std::size_t(param)].value);
    layer.weight->sqnr_db = weight.db();
  }
}

}  // namespace qhv
