// RepQ-ViT, FQ-ViT and HyQ on networks small enough to compute by hand what each of them decides.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "nn/build.h"
#include "quant/equalize.h"
#include "quant/fake_quant.h"
#include "quant/methods/methods.h"
#include "quant/metrics.h"
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

/// An inverted residual without BatchNorm.
Graph residual_graph() {
  Graph graph;
  Value x = conv2d(input(graph, {6, 8, 8}), "r.conv1_1x1.conv", 8, {});
  x = silu(x, "r.conv1_1x1.act");
  x = silu(conv2d(x, "r.conv2_kxk.conv", 8, {.kernel = 3, .pad = 1, .groups = 8}), "r.conv2_kxk.act");
  conv2d(x, "r.conv3_1x1.conv", 5, {});
  for (std::size_t i = 0; i < graph.params.size(); ++i)
    graph.params[i].value = random_tensor(graph.params[i].value.shape(), i);
  return graph;
}

/// Images whose channel 2 is 50 times as large as the others.
std::vector<Tensor> uneven_images() {
  std::vector<Tensor> images = images_of({1, 6, 8, 8}, 4);
  for (Tensor& image : images)
    for (std::int64_t i = 2 * 64; i < 3 * 64; ++i) image[i] *= 50;
  return images;
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
  add(both, factor_errors(Tensor({1, 1, 1}, {3}), whole, 1));
  CHECK(power_of_two_factor(whole, 1, both).scale[0] == 2);
}

TEST_CASE("fqvit: a full plan has the factors at its normalisations, by their own axes") {
  Graph graph;
  const Value x = group_norm(input(graph, {4, 4, 4}), "groups");
  linear(layer_norm(unfold_patches(x, "unfold", {2, PatchLayout::kTokens}), "layers"), "fc", 2);
  graph.params[0].value = Tensor({4}, {1, 2, 4, 8});
  graph.params[2].value = Tensor({4}, 1);
  std::vector<Tensor> images = images_of({1, 4, 4, 4}, 3);
  for (Tensor& image : images)
    for (std::int64_t i = 0; i < image.size(); ++i) image[i] *= i < 16 ? 10 : i < 32 ? 5 : 1;
  const auto plan = [&](bool full, int threads) {
    return quantize_graph(find_method("fqvit"), graph,
                          {.images = images, .wbits = 8, .abits = 6, .threads = threads, .full = full})
        .plan;
  };
  CHECK(plan(false, 2).layers.size() == 1);
  const QuantPlan full = plan(true, 2);
  CHECK(full == plan(true, 1));
  CHECK(full.layers.size() == 3);
  for (const auto& [name, axis] : {std::pair{"groups", 1}, {"layers", 2}}) {
    Range seen;
    for (const Tensor& image : images) seen = merge(seen, range_of(tensor_at(graph, image, name, 0)));
    const QParams whole = affine_params({seen}, 8);
    const QParams& q = uniform(layer_of(full, name).inputs[0].quantizer, "test");
    CHECK(q.axis == axis);
    CHECK(q.zero_point == std::vector<std::int32_t>(4, whole.zero_point[0]));
    // By hand: the exponent of least error over all images, channel by channel.
    for (std::int64_t c = 0; c < 4; ++c) {
      double errors[4] = {};
      for (int e = 0; e < 4; ++e)
        for (const Tensor& image : images) {
          const Tensor read = tensor_at(graph, image, name, 0);
          for (std::int64_t i = 0; i < 64; ++i)
            if ((axis == 1 ? i / 16 : i % 4) == c) {
              const double step = std::ldexp(double(whole.scale[0]), e - 3), z = whole.zero_point[0];
              const double code = std::clamp(std::nearbyint(double(read[i]) / step), -z, 255 - z);
              errors[e] += std::pow(double(read[i]) - step * code, 2);
            }
        }
      const auto best = std::min_element(errors, errors + 4) - errors;
      CHECK(q.scale[std::size_t(c)] == std::ldexp(whole.scale[0], int(best) - 3));
    }
  }
  const QParams& groups = uniform(layer_of(full, "groups").inputs[0].quantizer, "test");
  CHECK(groups.scale[0] > groups.scale[2]);
}

TEST_CASE("hyq: the minimum of what a depthwise convolution reads is SiLU's") {
  const Graph graph = residual_graph();
  const std::vector<Tensor> images = uneven_images();
  const LayerPlan layer = layer_of(quantized_by("hyq", graph, images, 6).plan, "r.conv2_kxk.conv");
  std::vector<Range> seen;
  for (const Tensor& image : images)
    seen = merge(seen, channel_ranges(tensor_at(graph, image, "r.conv2_kxk.conv", 0), 1));
  for (Range& range : seen) {
    CHECK(range.lo > kSiluMinimum - 1e-6);
    range.lo = kSiluMinimum;
  }
  CHECK(uniform(layer.inputs[0].quantizer, "test") == affine_params(seen, 6, 1));
  CHECK(layer.equalization.empty());

  Graph other;  // nothing is fixed where the depthwise convolution reads something else
  conv2d(input(other, {2, 4, 4}), "depthwise", 2, {.kernel = 3, .pad = 1, .groups = 2});
  other.params[0].value = random_tensor({2, 1, 3, 3}, 0);
  const std::vector<Tensor> plain = images_of({1, 2, 4, 4}, 1);
  CHECK(uniform(quantized_by("hyq", other, plain, 6).plan.layers[0].inputs[0].quantizer, "test") ==
        affine_params(channel_ranges(plain[0], 1), 6, 1));
}

TEST_CASE("hyq: learnt factors lower the error of a layer whose channels differ by a factor of 50") {
  const Graph graph = residual_graph();
  const std::vector<Tensor> images = uneven_images();
  const QuantizedGraph quantized = quantized_by("hyq", graph, images, 6);
  const std::string name = "r.conv1_1x1.conv";
  const LayerPlan& layer = layer_of(quantized.plan, name);
  REQUIRE(layer.equalization.size() == 6);
  for (const float a : layer.equalization) CHECK(a > 0);
  CHECK(layer.equalization[2] > 3 * layer.equalization[0]);

  // The plan is that of min-max ranges under these factors.
  std::vector<Range> seen;
  for (const Tensor& image : images) seen = merge(seen, channel_ranges(image, 1));
  Range whole;
  for (std::size_t c = 0; c < 6; ++c) {
    const double a = double(layer.equalization[c]);
    whole = merge(whole, {seen[c].lo / a, seen[c].hi / a});
  }
  CHECK(uniform(layer.inputs[0].quantizer, "test") ==
        spread(affine_params({whole}, 6), layer.equalization, 1));
  CHECK(uniform(layer.weight->quantizer, "test") ==
        symmetric_params(channel_ranges(multiply_channels(graph.params[0].value, layer.equalization), 0), 6,
                         0));

  // Against the same layer with factors of 1, over all pixels, which are the sample here.
  const auto error = [&](const QuantizedGraph& q) {
    Sqnr sqnr;
    for (const Tensor& image : images)
      sqnr.add(tensor_at(graph, image, name, -1),
               tensor_at(q.graph, image, name, -1, fake_quant_hooks(q.graph, q.plan)));
    return sqnr.noise / (4 * 8 * 64);
  };
  const double before = error(quantized_by("minmax", graph, images, 6)), after = error(quantized);
  CHECK(after < 0.3 * before);
  REQUIRE(layer.score.has_value());
  CHECK(near(layer.score->before, before, 1e-5 * before));
  CHECK(near(layer.score->after, after, 1e-5 * after));
}

TEST_CASE("hyq: the same bits with 1 and 2 threads; factors stay 1 where they cannot help") {
  const Graph graph = residual_graph();
  const std::vector<Tensor> images = uneven_images();
  const QuantizedGraph one = quantized_by("hyq", graph, images, 6, 1),
                       two = quantized_by("hyq", graph, images, 6);
  CHECK(one.plan == two.plan);
  for (std::size_t i = 0; i < one.graph.params.size(); ++i)
    CHECK(difference(one.graph.params[i].value, two.graph.params[i].value, 0) == "");

  Graph exact;  // weights and pixels that are codes already
  conv2d(input(exact, {2, 1, 2}), "r.conv3_1x1.conv", 1, {});
  exact.params[0].value = Tensor({1, 2, 1, 1}, {7, -3});
  const std::vector<Tensor> codes{Tensor({1, 2, 1, 2}, {15, 3, 0, 6})};
  const LayerPlan layer = quantized_by("hyq", exact, codes, 4).plan.layers[0];
  CHECK(layer.equalization.empty());
  CHECK(layer.score == SearchScore{0, 0});
}
