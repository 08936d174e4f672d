// Twin ranges in a network of integers: two planes of codes before layers of every kind.
#include <algorithm>
#include <doctest/doctest.h>
#include <map>

#include "nn/build.h"
#include "quant/fake_quant.h"
#include "quant/integer/lower.h"
#include "tests/integer_networks.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

/// The input quantiser of layer `node`.
Quantizer& input_quantizer(QuantizedGraph& q, const std::string& node) {
  return std::ranges::find(q.plan.layers, node, &LayerPlan::node)->inputs[0].quantizer;
}

/// A network in which layers of every kind read twin ranges: behind SiLU, an addition, a joined map, a ReLU
/// and pooling; weights have zero points. "d" and "e" read a map in the same ranges, "f" in others, "sum" in
/// 16 bits.
QuantizedGraph twin_network() {
  Graph graph;
  const Value x = input(graph, {3, 13, 13});
  const Value s = silu(conv2d(x, "a", 24, {.kernel = 3, .stride = 2, .pad = 1}, true), "s");
  const Value d = conv2d(s, "d", 24, {.kernel = 3, .pad = 1, .groups = 24}, true);
  const Value e = silu(conv2d(s, "e", 24, {.kernel = 3, .pad = 1}, true), "t");
  const Value f = silu(conv2d(s, "f", 20, {.kernel = 3, .stride = 2, .pad = 1}, true), "u");
  const Value sum = add(add(d, e, "de"), s, "sum");
  const Value g = conv2d(sum, "g", 20, {.kernel = 3, .stride = 2, .pad = 1}, true);
  const Value h = conv2d(concat_axis({f, g}, "joined", 1), "h", 17, {}, true);
  linear(global_avg_pool(relu(conv2d(silu(h, "v"), "i", 19, {}, true), "r"), "pool"), "fc", 6);
  for (std::size_t i = 0; i < graph.params.size(); ++i)
    graph.params[i].value = random_tensor(graph.params[i].value.shape(), 40 + i, -0.4, 0.4);
  QuantizedGraph q = quantized(graph);
  for (LayerPlan& layer : q.plan.layers)
    if (layer.weight && layer.node != "a")
      layer.inputs[0].quantizer = twin_silu(layer.node == "f" ? 2 : 4, 8);
  give_weights_zero_points(q, graph);
  return q;
}

}  // namespace

TEST_CASE("twin ranges: before layers of every kind, behind nodes of every kind") {
  const QuantizedGraph q = twin_network();
  const auto layers = layer_by_layer(q, image_for(q.graph, 8));
  for (const char* producer : {"s", "t", "d", "sum", "joined", "v", "r", "pool"})
    CHECK(layers.contains(producer));
  for (const auto& [layer, a] : layers) {
    CAPTURE(layer);
    CHECK(double(a.further) <= 0.001 * double(a.elements));
    CHECK(double(a.off_by_one) <= 0.02 * double(a.elements));
  }
  check_same_bits(q);

  std::map<std::string, int> planes;
  std::vector<StoredInput> inputs;
  lower(q.graph, q.plan, &inputs);
  std::map<int, int> of_buffer;
  for (const StoredInput& input : inputs) {
    const std::string& name = q.graph.nodes[std::size_t(input.edge.node)].name;
    ++planes[name];
    if (name == "d" || name == "e" || name == "f") ++of_buffer[input.form.buffer];
  }
  for (const char* layer : {"d", "e", "f", "g", "h", "i", "fc"}) CHECK(planes[layer] == 2);
  CHECK(planes["a"] == 1);
  CHECK(of_buffer.size() == 3);  // one low plane, two high ones
}

TEST_CASE("twin ranges: what has no integer arithmetic is refused by name") {
  const auto refusal = [](const std::string& node, const Quantizer& quantizer) {
    QuantizedGraph q = twin_network();
    input_quantizer(q, node) = quantizer;
    return error_of([&] { lower(q.graph, q.plan); });
  };
  CHECK(refusal("d", twin_silu(4, 8)) == "no error");
  TwinUniform twin = twin_silu(4, 8);
  twin.split = 0.5f;
  CHECK(refusal("d", twin) ==
        "invalid_argument: [integer engine: d, input 0] twin ranges that meet at 0.5 instead of zero");
  twin = twin_silu(4, 8);
  twin.high_scale *= 1.5f;
  CHECK(refusal("g", twin) ==
        "invalid_argument: [integer engine: g, input 0] twin ranges whose steps have the ratio 24");
  CHECK(refusal("pool", twin_silu(4, 8)) ==
        "invalid_argument: [integer engine] global_avg_pool pool reads input 0 with a twin quantiser, which "
        "has no integer arithmetic here");
  // Codes of weights and their zero points: 9 * 127 * 255 * 2^12 are 1.2e9 for "d", 24 times as much for "e".
  CHECK(refusal("d", twin_silu(12, 8)) == "no error");
  CHECK(
      refusal("d", twin_silu(16, 8)) ==
      "invalid_argument: [integer engine] conv2d d sums products with twin ranges whose steps have the ratio "
      "2^16, which could overflow 32 bits");
  CHECK(refusal("e", twin_silu(12, 8)).find("conv2d e sums products with twin ranges") != std::string::npos);
  CHECK(refusal("a", twin_silu(4, 8)).find("is read in more than one form") != std::string::npos);
}
