// Partial plans in integers: single layers against sums in 64 bits, whole networks against their simulation,
// and what stays in floating point or is refused.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <limits>
#include <random>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "models/model.h"
#include "models/runner.h"
#include "nn/build.h"
#include "nn/passes.h"
#include "quant/fake_quant.h"
#include "quant/integer/layer_product.h"
#include "quant/integer/partial_plan.h"
#include "quant/methods/methods.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

TensorI32 random_codes(const Shape& shape, const QParams& q, std::uint32_t seed) {
  std::mt19937 random(seed);
  TensorI32 codes = TensorI32::uninitialized(shape);
  for (std::int64_t i = 0; i < codes.size(); ++i)
    codes[i] = q.qmin + std::int32_t(random() % std::uint32_t(q.qmax - q.qmin + 1));
  return codes;
}

/// A layer's plan; `weight` may be null.
LayerPlan layer_plan(const Node& node, const std::vector<QParams>& inputs, const QParams* weight) {
  LayerPlan layer{node.name, op_name(node.op), {}};
  for (const QParams& q : inputs) layer.inputs.push_back({q});
  if (weight) layer.weight = TensorPlan{*weight};
  return layer;
}

QuantPlan plan_of(LayerPlan layer) {
  QuantPlan plan;
  plan.layers.push_back(std::move(layer));
  return plan;
}

Tensor image_for(const Graph& graph, std::uint64_t seed, std::int64_t batch = 1) {
  const Input& in = std::get<Input>(graph.nodes[0].op);
  return random_tensor({batch, in.channels, in.height, in.width}, seed, 0, 1);
}

QuantizedGraph quantized(const Graph& graph, const char* method) {
  const std::vector<Tensor> images{image_for(graph, 70)};
  return quantize_graph(find_method(method), graph, {.images = images, .threads = 2});
}

/// A stem, a block of this version, and a classifier.
Graph small_network(int version) {
  Graph graph;
  const Arch arch{.name = "",
                  .version = version,
                  .stem = 0,
                  .width = {},
                  .expansion = 1,
                  .dim = {8, 8, 8},
                  .final_width = 0,
                  .depth = {1, 1, 1},
                  .heads = 2};
  const Value x = conv_norm_act(input(graph, {3, 16, 16}), "stem", 8, {.kernel = 3, .stride = 2, .pad = 1});
  const Value y =
      version == 1 ? mobilevit_block_v1(x, "block", arch, 2) : mobilevit_block_v2(x, "block", arch, 2);
  linear(global_avg_pool(y, "pool"), "classifier", 5);
  generate_weights(graph);
  return fold_batch_norm(std::move(graph));
}

Tensor magnitude(Tensor x) {
  for (real& v : x.values()) v = std::abs(v);
  return x;
}

/// What the node computes from the magnitudes of inputs and parameters, with its bias or without.
Tensor magnitudes(const Graph& graph, int node, std::span<const Tensor* const> inputs,
                  bool with_bias = true) {
  const Node& n = graph.nodes[std::size_t(node)];
  std::vector<Tensor> tensors;
  for (const Tensor* x : inputs) tensors.push_back(magnitude(*x));
  for (const int p : n.params) tensors.push_back(magnitude(graph.params[std::size_t(p)].value));
  if (!with_bias) tensors.back() = Tensor(tensors.back().shape());
  std::vector<const Tensor*> pointers;
  for (const Tensor& t : tensors) pointers.push_back(&t);
  return run_node(n, std::span(pointers).first(inputs.size()), std::span(pointers).subspan(inputs.size()));
}

/// By how much a product of this node may be off that is added up in float.
Tensor rounding_error(const Graph& graph, int node, std::span<const Tensor* const> inputs) {
  const Node& n = graph.nodes[std::size_t(node)];
  const Tensor* weight = n.params.empty() ? nullptr : &graph.params[std::size_t(n.params[0])].value;
  const std::int64_t depth = weight ? weight->size() / weight->dim(0) : inputs[0]->shape().back();
  Tensor bound = magnitudes(graph, node, inputs);
  for (real& v : bound.values()) v *= real(depth + 4) * std::numeric_limits<real>::epsilon();
  return bound;
}

}  // namespace

TEST_CASE("partial plan: convolutions with padding and zero points are sums in 64 bits") {
  struct Case {
    std::int64_t in, out;
    int stride, groups;
  };
  for (const auto& [in, out, stride, groups] :
       {Case{5, 7, 1, 1}, Case{4, 18, 2, 1}, Case{6, 6, 1, 6}, Case{6, 6, 2, 6}}) {
    CAPTURE(out);
    CAPTURE(stride);
    constexpr std::int64_t kSize = 7, kKernel = 3, kBatch = 2;
    Graph graph;
    const ConvGeometry g{.kernel = kKernel, .stride = stride, .pad = 1, .groups = groups};
    conv2d(input(graph, {in, kSize, kSize}), "conv", out, g, true);
    const QParams x{{0.037f}, {83}, -1, 0, 255};
    QParams w{{}, {}, 0, 0, 255};
    for (std::int64_t n = 0; n < out; ++n) {
      w.scale.push_back(0.011f * float(n + 1));
      w.zero_point.push_back(std::int32_t(n * 37 % 256));
    }
    const std::int64_t depth = in / groups;
    const TensorI32 x_codes = random_codes({kBatch, in, kSize, kSize}, x, 1),
                    w_codes = random_codes({out, depth, kKernel, kKernel}, w, 2);
    graph.params[0].value = dequantize(w_codes, w);
    graph.params[1].value = random_tensor({out}, 3);
    const QuantPlan plan = plan_of(layer_plan(graph.nodes[1], {x}, &w));
    for (const IntegerKernels* table : integer_kernel_tables()) {
      if (!table->is_supported()) continue;
      CAPTURE(table->name);
      const Tensor y = run(graph, dequantize(x_codes, x), partial_plan_hooks(graph, plan, *table));
      const std::int64_t extent = conv_extent(kSize, g);
      REQUIRE(y.shape() == Shape{kBatch, out, extent, extent});
      std::int64_t wrong = 0;
      for (std::int64_t i = 0; i < y.size(); ++i) {
        const std::int64_t ox = i % extent, oy = i / extent % extent, n = i / (extent * extent) % out,
                           image = i / (extent * extent * out), first = n / (out / groups) * depth;
        std::int64_t sum = 0;
        for (std::int64_t c = 0; c < depth; ++c)
          for (std::int64_t ky = 0; ky < kKernel; ++ky)
            for (std::int64_t kx = 0; kx < kKernel; ++kx) {
              const std::int64_t iy = oy * stride + ky - 1, ix = ox * stride + kx - 1;
              if (iy < 0 || iy >= kSize || ix < 0 || ix >= kSize) continue;  // zeros
              const std::int64_t a = x_codes[((image * in + first + c) * kSize + iy) * kSize + ix],
                                 b = w_codes[((n * depth + c) * kKernel + ky) * kKernel + kx];
              sum += (a - x.zero_point[0]) * (b - w.zero_point[std::size_t(n)]);
            }
        const double unit = double(x.scale[0]) * double(w.scale[std::size_t(n)]);
        wrong += y[i] != real(unit * double(sum) + double(graph.params[1].value[n]));
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("partial plan: matrix products with parameters by head are sums in 64 bits") {
  constexpr std::int64_t kHeads = 2, kRows = 5, kDepth = 6;
  for (const bool transpose : {false, true}) {
    CAPTURE(transpose);
    // Two maps of [heads, rows, depth] from one: what is below channel `heads`, and what is above.
    Graph graph;
    const Value x = input(graph, {2 * kHeads, kRows, kDepth});
    Value b = slice(x, "b", {1, kHeads, 2 * kHeads});
    if (!transpose) b = slice(b, "square", {2, 0, kRows});
    const Value a = slice(x, "a", {1, 0, kHeads});
    const Value left = transpose ? a : slice(a, "left", {3, 0, kRows});
    const Value y = matmul(left, b, "product", {transpose, 0.5});
    const std::int64_t depth = transpose ? kDepth : kRows, columns = transpose ? kRows : kDepth;
    const QParams qa{{0.25f, 0.5f}, {7, 200}, 1, 0, 255}, qb{{0.125f, 2}, {0, 5}, 1, -127, 127};
    TensorI32 codes = random_codes({1, 2 * kHeads, kRows, kDepth}, qb, 4);
    Tensor values = Tensor::uninitialized(codes.shape());
    const auto at = [&](std::int64_t channel, std::int64_t r, std::int64_t k) {
      return (channel * kRows + r) * kDepth + k;
    };
    for (std::int64_t i = 0; i < codes.size(); ++i) {
      const std::int64_t channel = i / (kRows * kDepth);
      const auto head = std::size_t(channel % kHeads);
      if (channel < kHeads) codes[i] += 127;  // codes of qa begin at 0
      const QParams& q = channel < kHeads ? qa : qb;
      values[i] = q.scale[head] * real(codes[i] - q.zero_point[head]);
    }
    const QuantPlan plan = plan_of(layer_plan(graph.nodes[std::size_t(y.node)], {qa, qb}, nullptr));
    const Tensor result = run(graph, values, partial_plan_hooks(graph, plan));
    REQUIRE(result.shape() == Shape{1, kHeads, kRows, columns});
    for (std::int64_t i = 0; i < result.size(); ++i) {
      const std::int64_t n = i % columns, r = i / columns % kRows, head = i / (columns * kRows);
      const auto h = std::size_t(head);
      std::int64_t sum = 0;
      for (std::int64_t k = 0; k < depth; ++k)
        sum += std::int64_t(codes[at(head, r, k)] - qa.zero_point[h]) *
               (codes[at(kHeads + head, transpose ? n : k, transpose ? k : n)] - qb.zero_point[h]);
      CHECK(result[i] == real(double(qa.scale[h]) * double(qb.scale[h]) * 0.5 * double(sum)));
    }
  }
}

// A simulated layer's error is that of adding up K products in float, at most (K + 2) eps times the sum of
// their magnitudes, which the same operator computes from magnitudes; the integer one's is that of scaling
// and rounding its exact sum.
TEST_CASE("partial plan: each layer puts out what its simulation does, from the same inputs") {
  for (const char* arch : {"mobilevit_xxs", "mobilevitv2_050"})
    for (const char* method : {"minmax", "hyq"}) {
      CAPTURE(arch);
      CAPTURE(method);
      const QuantizedGraph q = quantized(generated_model(*find_arch(arch), 5, 64).graph, method);
      const PlannedLayers layers(q.graph, q.plan);
      int products = 0;
      RunHooks hooks = fake_quant_hooks(q.graph, q.plan);
      hooks.on_node = [&](int node, std::span<const Tensor* const> inputs, const Tensor& output) {
        if (!layers.is_integer_product(node)) return;
        ++products;
        CAPTURE(q.graph.nodes[std::size_t(node)].name);
        const Tensor tolerance = rounding_error(q.graph, node, inputs),
                     y = LayerProduct(q.graph, layers, node, best_integer_kernels()).run(inputs);
        REQUIRE(y.shape() == output.shape());
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < y.size(); ++i)
          wrong += !(std::abs(double(y[i]) - double(output[i])) <= double(tolerance[i]));
        CHECK(wrong == 0);
      };
      run(q.graph, image_for(q.graph, 5, 2), hooks);
      CHECK(products == int(quantizable_nodes(q.graph).size()));
    }
}

// Between layers a value may lie so close to the middle between two codes that rounding errors decide, and
// deep networks make much of that. In a small one it is rare: the classifier reads the same codes but for
// few that differ by one, and its logits differ by what those weigh, and by its own rounding errors.
TEST_CASE("partial plan: a network's logits are those of its simulation") {
  for (const int version : {1, 2}) {
    CAPTURE(version);
    const QuantizedGraph q = quantized(small_network(version), "minmax");
    const Tensor image = image_for(q.graph, 5, 2);
    const int classifier = int(q.graph.nodes.size()) - 1;
    const QParams& grid = std::get<QParams>(q.plan.layers.back().inputs[0].quantizer);
    REQUIRE(q.plan.layers.back().node == "classifier");
    REQUIRE(grid.axis < 0);
    const auto logits_of = [&](RunHooks hooks, Tensor& read) {
      hooks.on_node = [&](int node, std::span<const Tensor* const> inputs, const Tensor&) {
        if (node == classifier) read = fake_quantize(*inputs[0], grid);
      };
      return run(q.graph, image, hooks);
    };
    Tensor expected_read, read;
    const Tensor expected = logits_of(fake_quant_hooks(q.graph, q.plan), expected_read),
                 logits = logits_of(partial_plan_hooks(q.graph, q.plan), read);
    std::int64_t flipped = 0;
    Tensor flips = Tensor::uninitialized(read.shape());
    for (std::int64_t i = 0; i < read.size(); ++i) {
      flips[i] = std::abs(read[i] - expected_read[i]);
      flipped += flips[i] > 0;
      CHECK(flips[i] <= real(1.01) * grid.scale[0]);
    }
    CHECK(flipped * 8 <= read.size());
    const Tensor of_flips = magnitudes(q.graph, classifier, std::vector<const Tensor*>{&flips}, false),
                 of_sums = rounding_error(q.graph, classifier, std::vector<const Tensor*>{&expected_read});
    for (std::int64_t i = 0; i < logits.size(); ++i)
      CHECK(std::abs(double(logits[i]) - double(expected[i])) <= double(of_flips[i]) + double(of_sums[i]));
  }
}

TEST_CASE("partial plan: layers with other than uniform quantisers are islands, simulated as before") {
  for (const char* method : {"ptq4vit", "fqvit"}) {
    CAPTURE(method);
    const QuantizedGraph q = quantized(generated_model(*find_arch("mobilevit_xxs"), 5, 64).graph, method);
    const PlannedLayers layers(q.graph, q.plan);
    const std::vector<int> islands = float_islands(q.graph, q.plan);
    CHECK(std::ranges::is_sorted(islands));
    const RunHooks hooks = partial_plan_hooks(q.graph, q.plan),
                   simulation = fake_quant_hooks(q.graph, q.plan);
    int simulated = 0;
    RunHooks watched = hooks;
    watched.on_edge = [&](Edge edge, const Tensor& x) {
      const bool planned = simulation.on_edge(edge, x).has_value();
      CHECK(!layers.is_integer_product(edge.node));
      if (planned) ++simulated;
      return hooks.on_edge(edge, x);
    };
    run(q.graph, image_for(q.graph, 5), watched);
    CHECK(simulated > 0);
    const std::size_t non_uniform =
        std::size_t(std::ranges::count_if(q.plan.layers, [](const LayerPlan& layer) {
          return std::ranges::any_of(layer.inputs, [](const TensorPlan& input) {
            return !std::holds_alternative<QParams>(input.quantizer);
          });
        }));
    CHECK(non_uniform > 0);
    CHECK(islands.size() == full_nodes(q.graph).size() + non_uniform);
  }
}

TEST_CASE("partial plan: what has no integer product is refused by name") {
  const QParams byte{{1}, {0}, -1, 0, 255}, wide{{1}, {0}, -1, 0, 65535}, weight{{1}, {0}, -1, -127, 127};
  Graph deep;  // 70000 products of 255 and 127
  linear(global_avg_pool(input(deep, {70000, 1, 1}), "pool"), "fc", 2);
  deep.params[0].value = Tensor({2, 70000}, 127);
  const auto refusal = [&](const QParams& x) {
    const QuantPlan plan = plan_of(layer_plan(deep.nodes[2], {x}, &weight));
    return error_of([&] { partial_plan_hooks(deep, plan); });
  };
  CHECK(refusal(byte) ==
        "invalid_argument: [integer engine] linear fc sums 70000 products, which could overflow 32 bits");
  CHECK(refusal(wide) == "invalid_argument: [integer engine] linear fc reads input 0 with 16 bits");

  Graph long_rows;
  const Value x = input(long_rows, {1, 1, 20000});
  matmul(x, x, "scores", {.transpose_b = true});
  const QuantPlan plan = plan_of(layer_plan(long_rows.nodes[1], {byte, byte}, nullptr));
  CHECK(error_of([&] { partial_plan_hooks(long_rows, plan); }) ==
        "invalid_argument: [integer engine] matmul scores sums 20000 products, which could overflow 32 bits");

  Graph grouped;
  conv2d(input(grouped, {4, 6, 6}), "grouped", 4, {.groups = 2});
  const QuantPlan of_groups = plan_of(layer_plan(grouped.nodes[1], {byte}, &weight));
  CHECK(error_of([&] { partial_plan_hooks(grouped, of_groups); }) ==
        "invalid_argument: [integer engine] conv2d grouped has groups that are no channels");
}

TEST_CASE("partial plan: NaN, which has no code, is an error that names its reader") {
  const QuantizedGraph q = quantized(generated_model(*find_arch("mobilevit_xxs"), 5, 64).graph, "minmax");
  const RunHooks hooks = partial_plan_hooks(q.graph, q.plan);
  Tensor image({1, 3, 64, 64});
  image[5] = std::numeric_limits<real>::quiet_NaN();
  CHECK(error_of([&] { run(q.graph, image, hooks); }) ==
        "invalid_argument: [integer engine] conv2d stem.conv reads NaN in input 0");
}

TEST_CASE("partial plan: the runner names file, first island and option, unless islands are allowed") {
  const TemporaryFolder folder;
  const std::string path = folder / "q.safetensors";
  for (const char* arch : {"mobilevit_xxs", "mobilevitv2_050"}) {
    CAPTURE(arch);
    Model saved = generated_model(*find_arch(arch), 5, 64);
    const QuantizedGraph q = quantized(saved.graph, "minmax");
    saved.graph = q.graph;
    saved.plan = q.plan;
    save_quantized(path, saved);
    Model model = load_model(path, {}, true);
    CHECK(error_of([&] { Runner(model, 1, 1); }) ==
          concat("runtime_error: ", path,
                 ": [integer engine] silu stem.act is left to floating point: quantise with --full, or run "
                 "with --allow-float-islands"));
    model.allow_float_islands = true;
    const Tensor image = image_for(q.graph, 5);
    Runner runner(model, 1, 1);
    CHECK(std::string(runner.kernels()) == best_integer_kernels().name);
    CHECK(difference(runner.run(image), run(q.graph, image, partial_plan_hooks(q.graph, q.plan)), 0) == "");
  }
}
