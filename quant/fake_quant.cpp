#include "quant/fake_quant.h"

#include <algorithm>

#include "quant/equalize.h"
#include "quant/metrics.h"
#include "quant/observer.h"
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

/// What one image says of an input of a layer.
struct InputFigures {
  Sqnr sqnr;
  double saturation = 0;
  std::vector<Range> ranges;
};

struct LayerFigures {
  std::vector<InputFigures> inputs;
  Sqnr output;
};

/// Ranges at the granularity of the quantiser.
std::vector<Range> ranges_for(const Tensor& x, const Quantizer& q) {
  const QParams* params = std::get_if<QParams>(&q);
  if (!params) return {};
  if (params->axis < 0) return {range_of(x)};
  return merge_groups(channel_ranges(x, params->axis), params->group);
}

int overflows_of(const std::vector<Range>& ranges, const Quantizer& q) {
  return ranges.empty() ? 0 : overflows(ranges, bit_width(q));
}

}  // namespace

RunHooks fake_quant_hooks(const Graph& graph, const QuantPlan& plan) {
  std::vector<std::vector<Quantizer>> quantizers(
      graph.nodes.size());  // [node][slot], empty where nothing is quantised
  for (const LayerPlan& layer : plan.layers)
    for (const TensorPlan& input : layer.inputs)
      quantizers[std::size_t(find_node(graph, layer.node))].push_back(input.quantizer);
  RunHooks hooks;
  hooks.on_edge = [quantizers = std::move(quantizers)](Edge edge, const Tensor& x) -> std::optional<Tensor> {
    const auto& of_node = quantizers[std::size_t(edge.node)];
    if (of_node.empty() || std::holds_alternative<Unquantized>(of_node[std::size_t(edge.slot)]))
      return std::nullopt;
    return fake_quantize(x, of_node[std::size_t(edge.slot)]);
  };
  return hooks;
}

std::function<void(const real*, real*, std::int64_t, std::int64_t, std::int64_t)> row_rounding(
    const Graph& graph, const QuantPlan& plan, Edge edge) {
  const auto layer =
      std::ranges::find(plan.layers, graph.nodes[std::size_t(edge.node)].name, &LayerPlan::node);
  if (layer == plan.layers.end()) return {};
  const Quantizer& q = layer->inputs[std::size_t(edge.slot)].quantizer;
  if (std::holds_alternative<Unquantized>(q)) return {};
  return [q](const real* src, real* dst, std::int64_t rows, std::int64_t channels, std::int64_t head) {
    fake_quantize_rows(q, src, dst, rows, channels, head);
  };
}

void quantize_weights(Graph& graph, const QuantPlan& plan) {
  for (const LayerPlan& layer : plan.layers) {
    if (!layer.weight) continue;
    const Node& node = graph.nodes[std::size_t(find_node(graph, layer.node))];
    Tensor& weight = graph.params[std::size_t(node.params[0])].value;
    weight = fake_quantize_weight(weight, layer.weight->quantizer, layer.equalization);
  }
}

void measure_plan(QuantizedGraph& quantized, const Graph& reference, std::span<const Tensor> images,
                  int threads) {
  QuantPlan& plan = quantized.plan;
  const std::vector<int> layer_of = layer_of_node(reference, plan);
  std::vector<std::vector<LayerFigures>> of_image(images.size(),
                                                  std::vector<LayerFigures>(plan.layers.size()));
  parallel_for(std::int64_t(images.size()), threads, [&](std::int64_t image) {
    RunHooks hooks;
    hooks.on_node = [&](int node, std::span<const Tensor* const> inputs, const Tensor& output) {
      const int index = layer_of[std::size_t(node)];
      if (index < 0) return;
      const LayerPlan& layer = plan.layers[std::size_t(index)];
      LayerFigures& figures = of_image[std::size_t(image)][std::size_t(index)];
      std::vector<Tensor> rounded;
      std::vector<const Tensor*> pointers;
      for (std::size_t slot = 0; slot < inputs.size(); ++slot) {
        const Tensor& x = *inputs[slot];
        const Quantizer& q = layer.inputs[slot].quantizer;
        rounded.push_back(fake_quantize(x, q));
        InputFigures& input = figures.inputs.emplace_back();
        input.sqnr.add(x, rounded.back());
        input.saturation = saturated_share(x, q);
        input.ranges = ranges_for(x, q);
      }
      for (const Tensor& t : rounded) pointers.push_back(&t);
      figures.output.add(output, run_node(quantized.graph, node, pointers));
    };
    run(reference, images[std::size_t(image)], hooks);
  });

  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    LayerPlan& layer = plan.layers[i];
    Sqnr output;
    for (const auto& layers : of_image) output.add(layers[i].output);
    layer.sqnr_db = output.db();
    for (std::size_t slot = 0; slot < layer.inputs.size(); ++slot) {
      TensorPlan& input = layer.inputs[slot];
      InputFigures total;
      for (const auto& layers : of_image) {
        const InputFigures& figures = layers[i].inputs[slot];
        total.sqnr.add(figures.sqnr);
        total.saturation += figures.saturation / double(images.size());
        total.ranges = merge(total.ranges, figures.ranges);
      }
      input.sqnr_db = total.sqnr.db();
      input.saturation = total.saturation;
      input.overflows = overflows_of(total.ranges, input.quantizer);
    }
    if (!layer.weight) continue;
    const int param = reference.nodes[std::size_t(find_node(reference, layer.node))].params[0];
    const Tensor& weight = reference.params[std::size_t(param)].value;
    Sqnr sqnr;
    sqnr.add(weight, quantized.graph.params[std::size_t(param)].value);
    layer.weight->sqnr_db = sqnr.db();
    const Tensor equalized = multiply_channels(weight, layer.equalization);
    layer.weight->saturation = saturated_share(equalized, layer.weight->quantizer);
    layer.weight->overflows =
        overflows_of(ranges_for(equalized, layer.weight->quantizer), layer.weight->quantizer);
  }
}

}  // namespace qhv
