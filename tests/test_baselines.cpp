// RepQ-ViT and FQ-ViT on networks small enough to compute by hand what each of them decides.
#include <cmath>
#include <doctest/doctest.h>

#include "nn/build.h"
#include "quant/fake_quant.h"
#include "quant/methods/methods.h"
#include "quant/power_of_two.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

std::vector<Tensor> images_of(const Shape& shape, int count) {
  std::vector<Tensor> images;
  for (int i = 0; i < count; ++i) images.push_back(random_tensor(shape, 70 + std::uint64_t(i)));
  return images;
}

QuantizedGraph quantized_by(const char* method, const Graph& graph, std::span<const Tensor> images, int bits,
                            int threads = 2) {
  return quantize_graph(find_method(method), graph,
                        {.images = images, .wbits = bits, .abits = bits, .threads = threads});
}

const LayerPlan& layer_of(const QuantPlan& plan, const std::string& node) {
  for (const LayerPlan& layer : plan.layers)
    if (layer.node == node) return layer;
  FAIL("no plan for " << node);
  return plan.layers.front();
}

/// What node `name` reads in its first slot, or puts out with slot -1.
Tensor tensor_at(const Graph& graph, const Tensor& image, const std::string& name, int slot,
                 RunHooks hooks = {}) {
  Tensor seen;
  const int index = find_node(graph, name);
  hooks.on_node = [&](int node, std::span<const Tensor* const> inputs, const Tensor& output) {
    if (node == index) seen = slot < 0 ? output : *inputs[std::size_t(slot)];
  };
  run(graph, image, hooks);
  return seen;
}

/// GroupNorm with channels of very different size, the last one dead, and a 1x1 convolution.
Graph norm_graph() {
  Graph graph;
  conv2d(group_norm(input(graph, {4, 2, 2}), "norm"), "fc1", 3, {}, true);
  graph.params[0].value = Tensor({4}, {1, 20, 0.1, 0});
  graph.params[1].value = Tensor({4}, {0, 5, 0.3, 0});
  graph.params[2].value = random_tensor({3, 4, 1, 1}, 1);
  graph.params[3].value = random_tensor({3}, 2);
  return graph;
}

/// softmax(x x^T) x on tokens.
Graph attention_graph() {
  Graph graph;
  const Value x = unfold_patches(input(graph, {3, 4, 4}), "unfold", {2, PatchLayout::kTokens});
  const Value p = softmax(matmul(x, x, "scores", {.transpose_b = true, .scale = 2}), "softmax");
  linear(layer_norm(matmul(p, x, "context", {}), "norm"), "fc1", 2);
  for (std::size_t i = 0; i < graph.params.size(); ++i)
    graph.params[i].value = random_tensor(graph.params[i].value.shape(), i);
  return graph;
}

}  // namespace

TEST_CASE("repq: channels after a norm keep their scales, and the weight takes over the ratios") {
  const Graph graph = norm_graph();
  const std::vector<Tensor> images = images_of({1, 4, 2, 2}, 3);
  const QuantizedGraph quantized = quantized_by("repq", graph, images, 4);
  const LayerPlan& layer = layer_of(quantized.plan, "fc1");

  std::vector<Range> seen;
  for (const Tensor& image : images) seen = merge(seen, channel_ranges(tensor_at(graph, image, "fc1", 0), 1));
  QParams by_channel = affine_params(seen, 4, 1);
  const double mean =
      (double(by_channel.scale[0]) + double(by_channel.scale[1]) + double(by_channel.scale[2])) / 3;
  by_channel.scale[3] = float(mean);  // the dead channel
  CHECK(uniform(layer.inputs[0].quantizer, "test") == by_channel);
  CHECK(by_channel.zero_point[0] != by_channel.zero_point[1]);
  REQUIRE(layer.equalization.size() == 4);
  for (std::size_t c = 0; c < 4; ++c)
    CHECK(near(layer.equalization[c], double(by_channel.scale[c]) / mean, 1e-6));
  CHECK(layer.equalization[3] == 1);

  // The weight's grid: affine, of W r1, by output channel.
  const Tensor& w = graph.params[2].value;
  const QParams& grid = uniform(layer.weight->quantizer, "test");
  for (std::int64_t o = 0; o < 3; ++o) {
    double lo = 0, hi = 0;
    for (std::int64_t c = 0; c < 4; ++c) {
      const double v = double(w[o * 4 + c]) * double(layer.equalization[std::size_t(c)]);
      lo = std::min(lo, v), hi = std::max(hi, v);
    }
    CHECK(near(grid.scale[std::size_t(o)], (hi - lo) / 15, 1e-6));
    CHECK(grid.zero_point[std::size_t(o)] == std::int32_t(std::nearbyint(-lo * 15 / (hi - lo))));
  }

  // The quantised layer: codes per channel times reparametrised weights; as integers would, with z_c in the
  // bias.
  const Tensor x = tensor_at(graph, images[0], "fc1", 0);
  const TensorI32 codes = quantize(x, by_channel);
  const Tensor y = run(quantized.graph, images[0], fake_quant_hooks(quantized.graph, quantized.plan));
  for (std::int64_t o = 0; o < 3; ++o)
    for (std::int64_t i = 0; i < 4; ++i) {
      double by_hand = double(graph.params[3].value[o]), product = 0, bias = by_hand;
      for (std::int64_t c = 0; c < 4; ++c) {
        const double r = double(layer.equalization[std::size_t(c)]);
        const double rounded = fake_quantize(double(w[o * 4 + c]) * r, grid, std::size_t(o));
        by_hand += rounded / r * fake_quantize(double(x[c * 4 + i]), by_channel, std::size_t(c));
        product += rounded * codes[c * 4 + i];
        bias -= mean * rounded * by_channel.zero_point[std::size_t(c)];
      }
      CHECK(near(double(y[o * 4 + i]), by_hand, 1e-4));
      CHECK(near(double(y[o * 4 + i]), bias + mean * product, 1e-4));
    }
}

TEST_CASE("repq: the softmax in powers of sqrt 2 below the largest value seen; tokens by their last axis") {
  const Graph graph = attention_graph();
  const std::vector<Tensor> images = images_of({1, 3, 4, 4}, 2);
  const QuantPlan plan = quantized_by("repq", graph, images, 6).plan;
  double top = 0;
  for (const Tensor& image : images) top = std::max(top, range_of(tensor_at(graph, image, "context", 0)).hi);
  CHECK(top < 1);
  const LayerPlan& context = layer_of(plan, "context");
  CHECK(context.inputs[0].quantizer == Quantizer(LogUniform{float(top), 2, 63}));
  CHECK(std::string(scheme_name(context.inputs[1].quantizer)) == "affine");
  CHECK(std::string(scheme_name(layer_of(plan, "scores").inputs[0].quantizer)) == "affine");
  const LayerPlan& linear = layer_of(plan, "fc1");
  CHECK(uniform(linear.inputs[0].quantizer, "test").axis == 2);
  CHECK(linear.equalization.size() == 3);
}

TEST_CASE("fqvit: softmax in powers of two below 1, weights symmetric") {
  const Graph graph = attention_graph();
  const std::vector<Tensor> images = images_of({1, 3, 4, 4}, 2);
  const QuantizedGraph quantized = quantized_by("fqvit", graph, images, 4);
  const LayerPlan& context = layer_of(quantized.plan, "context");
  CHECK(context.inputs[0].quantizer == Quantizer(LogUniform{1, 1, 15}));
  CHECK(std::string(scheme_name(context.inputs[1].quantizer)) == "affine");
  const LayerPlan& linear = layer_of(quantized.plan, "fc1");
  CHECK(uniform(linear.weight->quantizer, "test") ==
        symmetric_params(channel_ranges(graph.params[2].value, 0), 4, 0));
  CHECK(linear.equalization.empty());

  const RunHooks hooks = fake_quant_hooks(quantized.graph, quantized.plan);
  const Tensor p = tensor_at(quantized.graph, images[0], "context", 0, hooks);
  const Tensor exact = tensor_at(quantized.graph, images[0], "softmax", -1, hooks);
  for (std::int64_t i = 0; i < p.size(); ++i)
    CHECK(near(double(p[i]), std::exp2(-std::nearbyint(-std::log2(double(exact[i])))), 1e-7));
}

TEST_CASE("fqvit: power-of-two factors by hand") {
  const QParams whole{{8}, {128}, -1, 0, 255};  // steps of 1, 2, 4 and 8; codes -128 .. 127
  const Tensor x({1, 5, 3}, {100, 3, -5,        // fits into steps of 1
                             200, -6, 2,        // of 2: 127 would clip 200
                             400, -4, 12,       // of 4
                             1000, -8, 16,      // of 8
                             0, 0, 0});
  const FactorErrors errors = factor_errors(x, whole, 1);
  REQUIRE(errors.size() == 5);
  CHECK(errors[0][0] == 0);
  CHECK(errors[0][1] == 2);              // 3 -> 4, halves to even: -5 -> -4
  CHECK(errors[1][0] == 73 * 73);        // 200 -> 127
  CHECK(errors[1][2] == 2 * 2 + 2 * 2);  // -6 -> -8, halves to even: 2 -> 0
  CHECK(errors[3][2] == 492 * 492);      // 1000 -> 508
  const QParams q = power_of_two_factor(whole, 1, errors);
  CHECK(q == QParams{{1, 2, 4, 8, 1}, std::vector<std::int32_t>(5, 128), 1, 0, 255});
  CHECK(difference(fake_quantize(x, q), x, 0) == "");
  CHECK(error_of([&] { factor_errors(x, q, 1); }) ==
        "invalid_argument: [power of two] parameters per channel");

  // Over several tensors errors add up, and the exponent that suits both wins.
  FactorErrors both = factor_errors(Tensor({1, 1, 1}, {200}), whole, 1);
  const FactorErrors second = factor_errors(Tensor({1, 1, 1}, {3}), whole, 1);
  for (std::size_t i = 0; i < 4; ++i) both[0][i] += second[0][i];
  CHECK(power_of_two_factor(whole, 1, both).scale[0] == 2);
}
