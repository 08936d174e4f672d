// Full plans: which nodes they have, by which rules their inputs are quantised, and what they cost.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "models/model.h"
#include "nn/build.h"
#include "nn/run.h"
#include "quant/fake_quant.h"
#include "quant/full.h"
#include "quant/methods/methods.h"
#include "quant/metrics.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

std::vector<Tensor> images_for(const Graph& graph, int count) {
  const Input& in = std::get<Input>(graph.nodes[0].op);
  std::vector<Tensor> images;
  for (int i = 0; i < count; ++i)
    images.push_back(random_tensor({1, in.channels, in.height, in.width}, 70 + std::uint64_t(i), 0, 1));
  return images;
}

const LayerPlan& layer_of(const QuantPlan& plan, const std::string& node) {
  return *std::ranges::find(plan.layers, node, &LayerPlan::node);
}

QuantizedGraph quantized(const char* method, const Graph& graph, bool full) {
  const std::vector<Tensor> images = images_for(graph, 2);
  return quantize_graph(find_method(method), graph, {.images = images, .threads = 2, .full = full});
}

double silu_of(double x) { return x / (1 + std::exp(-x)); }

}  // namespace

TEST_CASE("full: every node that computes is planned, at 8 or 16 bits, in graph order") {
  for (const char* arch : {"mobilevit_xxs", "mobilevitv2_050"}) {
    // 96 is not a multiple of 64, so that there are resizes.
    const Graph graph = generated_model(*find_arch(arch), 5, 96).graph;
    const QuantPlan plan = quantized("minmax", graph, true).plan;
    CHECK(plan.full);
    CHECK(plan.layers.size() == quantizable_nodes(graph).size() + full_nodes(graph).size());
    int before = -1;
    for (const LayerPlan& layer : plan.layers) {
      const int node = find_node(graph, layer.node);
      CHECK(node > before);
      before = node;
      const bool stream = layer.op == "layer_norm" || layer.op == "group_norm" || layer.op == "add" ||
                          layer.op == "resize_bilinear";
      for (const TensorPlan& input : layer.inputs) {
        CHECK(bit_width(input.quantizer) == (stream ? 16 : 8));
        if (stream) CHECK(input.sqnr_db > 60);
      }
    }
    CHECK(plan_from_json(plan_to_json(plan), "p") == plan);
    const QuantPlan partial = quantized("minmax", graph, false).plan;
    CHECK(!partial.full);
    CHECK(partial.layers.size() == quantizable_nodes(graph).size());
  }
}

TEST_CASE("full: a plan has all of these nodes, or none") {
  const Graph graph = generated_model(*find_arch("mobilevit_xxs"), 5, 64).graph;
  QuantPlan plan = quantized("minmax", graph, true).plan;
  plan.full = false;
  CHECK(error_of([&] { validate(plan, graph); }) ==
        "invalid_argument: [stem.act] a plan for this node, but the plan is partial");
  plan.full = true;
  std::erase_if(plan.layers, [](const LayerPlan& layer) { return layer.op == "softmax"; });
  CHECK(error_of([&] { validate(plan, graph); }).ends_with("softmax] no plan for this node of a full plan"));
  std::erase_if(plan.layers, [](const LayerPlan& layer) { return layer.node == "head.fc"; });
  CHECK(error_of([&] { validate(plan, graph); }) == "invalid_argument: [head.fc] no plan for this layer");
}

TEST_CASE("full: softmax by head, and a network that answers as the partial one does") {
  const Graph graph = generated_model(*find_arch("mobilevit_xxs"), 5, 64).graph;
  const std::vector<Tensor> images = images_for(graph, 2);
  for (const char* method : {"minmax", "fqvit", "qhyvit-released"}) {
    CAPTURE(method);
    const QuantizedGraph full = quantized(method, graph, true), partial = quantized(method, graph, false);
    const LayerPlan& softmax = layer_of(full.plan, "stages.2.1.transformer.0.attn.softmax");
    CHECK(uniform(softmax.inputs[0].quantizer, "test").scale.size() == 4);
    // What the partial plan decided stands in the full one.
    for (const LayerPlan& layer : partial.plan.layers)
      CHECK(layer_of(full.plan, layer.node).inputs[0].quantizer == layer.inputs[0].quantizer);
    Sqnr difference;
    for (const Tensor& image : images)
      difference.add(run(partial.graph, image, fake_quant_hooks(partial.graph, partial.plan)),
                     run(full.graph, image, fake_quant_hooks(full.graph, full.plan)));
    CHECK(difference.db() > 20);
    CHECK(std::isfinite(difference.db()));
  }
}

TEST_CASE("full: SiLU's input gives up its flat end") {
  // Most values lie between -4 and 4, where SiLU bends, a few at -60, where it is zero.
  Tensor x = random_tensor({1, 1, 1, 4000}, 3, -4, 4);
  for (std::int64_t i = 0; i < 40; ++i) x[i * 100] = -60;
  const Range seen = range_of(x);
  Histogram histogram(seen);
  histogram.add(x);
  const QParams q = silu_input_params(histogram, seen, 8), whole = affine_params({seen}, 8);
  const double lowest = double(q.scale[0]) * (q.qmin - q.zero_point[0]);
  CHECK(lowest > -20);
  CHECK(lowest < -3);
  CHECK(histogram.error_after(silu_of, q) < 0.1 * histogram.error_after(silu_of, whole));
}

TEST_CASE("methods: dead channels keep every scale positive, images that are all the same are refused") {
  Graph graph;
  Value x = input(graph, {3, 6, 6});
  x = silu(conv2d(x, "expand", 6, {}, true), "act1");
  x = silu(conv2d(x, "filter", 6, {.kernel = 3, .pad = 1, .groups = 6}, true), "act2");
  linear(global_avg_pool(x, "pool"), "fc", 4);
  for (std::size_t i = 0; i < graph.params.size(); ++i)
    graph.params[i].value = random_tensor(graph.params[i].value.shape(), i);
  for (std::int64_t i = 0; i < 3; ++i)
    graph.params[0].value[i] = 0;  // channel 0 of `expand` is zero everywhere
  graph.params[1].value[0] = 0;
  std::vector<Tensor> images = images_for(graph, 3);
  for (Tensor& image : images) std::fill_n(image.data(), 36, real(0));  // and so is the red of all images
  for (const Method& method : methods()) {
    CAPTURE(method.name);
    const QuantizedGraph q = quantize_graph(method, graph, {.images = images, .wbits = 4, .abits = 4});
    const Tensor y = run(q.graph, images[0], fake_quant_hooks(q.graph, q.plan));
    CHECK(std::ranges::all_of(y.values(), [](real v) { return std::isfinite(v); }));
  }
  images[1] = images[2] = images[0];
  CHECK(error_of([&] { quantize_graph(find_method("minmax"), graph, {.images = images}); }) ==
        "invalid_argument: [calibrate] all 3 images are the same");
}
