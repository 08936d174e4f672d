// A network of integers: against its simulation, layer by layer; the same bits by all kernels and threads;
// and what it refuses.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "models/model.h"
#include "models/runner.h"
#include "nn/build.h"
#include "nn/passes.h"
#include "nn/run.h"
#include "quant/fake_quant.h"
#include "quant/integer/engine.h"
#include "quant/integer/lower.h"
#include "tests/allocations.h"
#include "tests/integer_networks.h"
#include "tests/program.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;
using nlohmann::json;

TEST_CASE("integer engine: layer by layer the codes of the simulation") {
  for (const char* arch : {"mobilevit_xxs", "mobilevitv2_050"})
    for (const char* method : {"minmax", "hyq", "repq", "fqvit", "ptq4vit"}) {
      CAPTURE(arch);
      CAPTURE(method);
      const QuantizedGraph q = quantized(generated_model(*find_arch(arch), 5, 64).graph, method);
      for (const auto& [layer, a] : layer_by_layer(q, image_for(q.graph, 5))) {
        CAPTURE(layer);
        CHECK(double(a.further) <= 0.001 * double(a.elements));
        CHECK(double(a.off_by_one) <= 0.02 * double(a.elements));
      }
    }
}

TEST_CASE(
    "integer engine: SiLU and additions that nothing can be fused with, and a map that is read in several "
    "forms") {
  Graph graph;
  const Value x = input(graph, {3, 12, 12});
  const Value a = conv2d(x, "a", 24, {.kernel = 3, .stride = 2, .pad = 1}, true), s = silu(a, "s");
  const Value sum = add(a, s, "sum");
  const Value joined = concat_axis({sum, silu(conv2d(s, "b", 8, {}, true), "t")}, "joined", 1);
  linear(global_avg_pool(silu(conv2d(joined, "c", 20, {.kernel = 3, .pad = 1}, true), "u"), "pool"), "fc", 6);
  for (std::size_t i = 0; i < graph.params.size(); ++i)
    graph.params[i].value = random_tensor(graph.params[i].value.shape(), 30 + i, -0.5, 0.5);
  const QuantizedGraph q = quantized(graph);
  const auto layers = layer_by_layer(q, image_for(graph, 8));
  CHECK(layers.size() == 5);  // a, s, joined, u, pool
  for (const auto& [layer, agreement] : layers) {
    CAPTURE(layer);
    CHECK(agreement.further == 0);
    CHECK(double(agreement.off_by_one) <= 0.02 * double(agreement.elements));
  }
  const IntegerProgram program = lower(q.graph, q.plan);
  const Tensor logits = run(q.graph, image_for(graph, 8), fake_quant_hooks(q.graph, q.plan));
  const TensorI32 codes = IntegerEngine(program, 1).run(image_for(graph, 8));
  for (std::int64_t i = 0; i < codes.size(); ++i)
    CHECK(near(codes[i] * program.logit_scale, double(logits[i]), 0.02));
}

TEST_CASE("integer engine: zero points of weights, by column, dense and depthwise") {
  const Graph graph = generated_model(*find_arch("mobilevit_xxs"), 5, 64).graph;
  QuantizedGraph q = quantized(graph);
  give_weights_zero_points(q, graph);
  for (const auto& [layer, a] : layer_by_layer(q, image_for(graph, 5))) {
    CAPTURE(layer);
    CHECK(double(a.further) <= 0.001 * double(a.elements));
    CHECK(double(a.off_by_one) <= 0.02 * double(a.elements));
  }
}

TEST_CASE("integer engine: equalised depthwise weights mean what they mean in the simulation") {
  const Graph graph = generated_model(*find_arch("mobilevit_xxs"), 5, 64).graph;
  QuantizedGraph q = quantized(graph);
  q.graph = graph;
  for (LayerPlan& layer : q.plan.layers) {
    const Node& node = graph.nodes[std::size_t(find_node(graph, layer.node))];
    if (!is_depthwise(node)) continue;
    layer.equalization = {2.5f};
    for (float& scale : std::get<QParams>(layer.weight->quantizer).scale) scale *= 2.5f;
  }
  quantize_weights(q.graph, q.plan);
  for (const auto& [layer, a] : layer_by_layer(q, image_for(graph, 5))) {
    CAPTURE(layer);
    CHECK(double(a.further) <= 0.001 * double(a.elements));
  }
}

TEST_CASE("integer engine: the same bits by every table, with any number of threads, in any batch") {
  for (const Arch& arch : known_archs()) {
    CAPTURE(arch.name);
    // 96 is not a multiple of 64, so that there are resizes.
    const bool small =
        arch.name == std::string("mobilevit_xxs") || arch.name == std::string("mobilevitv2_050");
    const Graph graph = generated_model(arch, 7, small ? 96 : 64).graph;
    check_same_bits(quantized(graph));
    if (small) check_same_bits(quantized(graph, "ptq4vit"));
  }
}

TEST_CASE("integer engine: a second run allocates nothing but its result") {
  for (const char* arch : {"mobilevit_xxs", "mobilevitv2_050"})
    for (const char* method : {"minmax", "ptq4vit"}) {
      CAPTURE(arch);
      CAPTURE(method);
      const QuantizedGraph q = quantized(generated_model(*find_arch(arch), 5, 96).graph, method);
      const IntegerProgram program = lower(q.graph, q.plan);
      const Tensor x = image_for(q.graph, 9, 2);
      TensorI32 logits;
      const std::int64_t of_result = allocations_of([&] {
        logits = TensorI32::uninitialized({2, program.outputs});
      });
      CHECK(of_result > 0);
      for (const int threads : {1, 2}) {
        CAPTURE(threads);
        IntegerEngine engine(program, 2, threads);
        engine.run(x);
        CHECK(allocations_of([&] { logits = engine.run(x); }) == of_result);
      }
    }
}

TEST_CASE("integer engine: trained networks give the answers of their simulation") {
  for (const std::string arch : {"mobilevit_xxs", "mobilevitv2_050"}) {
    const ProgramFolder place;
    const std::string path = concat(QHV_SOURCE_DIR, "/models/pretrained/synthetic_", arch, ".safetensors");
    for (const std::string method : {"hyq", "minmax --wbits 4", "ptq4vit"}) {
      CAPTURE(arch);
      CAPTURE(method);
      REQUIRE(
          place
              .run(concat("quantize ", path,
                          " --calib synthetic:calib --images 4 --full --out q.safetensors --method ", method))
              .code == 0);
      const json result =
          place.result("--engine int8 eval q.safetensors --data synthetic:test:21 --against q.safetensors");
      CHECK(result.at("engine") == "int8");
      CHECK(result.at("against").at("agreement").get<double>() >= 20.5 / 21);
      CHECK(result.at("against").at("divergence").get<double>() < 0.01);  // nats
    }
  }
}

TEST_CASE("integer engine: what has no integer arithmetic is refused by name") {
  const Graph graph = generated_model(*find_arch("mobilevit_xxs"), 5, 64).graph;
  const auto refusal = [](const QuantizedGraph& q) { return error_of([&] { lower(q.graph, q.plan); }); };
  const QuantizedGraph partial = quantized(graph, "minmax", 8, 8, false);
  CHECK(
      refusal(partial).find("[integer engine] silu stem.act is left to floating point: quantise with --full, "
                            "or run with --allow-float-islands") != std::string::npos);
  CHECK(float_islands(partial.graph, partial.plan).size() == full_nodes(graph).size());
  QuantizedGraph wide = quantized(graph);
  std::get<QParams>(wide.plan.layers[1].inputs[0].quantizer).qmax = 65535;
  CHECK(refusal(wide).starts_with("invalid_argument: [integer engine]"));

  QuantizedGraph scale = quantized(graph);
  std::get<QParams>(scale.plan.layers[1].inputs[0].quantizer).scale[0] = 1e-30f;
  CHECK(refusal(scale).find("stem") != std::string::npos);

  Graph normalised;  // operators that the engine lacks
  batch_norm(input(normalised, {3, 8, 8}), "bn");
  CHECK(refusal({normalised, {}}).find("[integer engine] batch_norm bn ") != std::string::npos);
  Graph wide_window;
  linear(
      global_avg_pool(
          conv2d(input(wide_window, {4, 8, 8}), "window", 4, {.kernel = 5, .pad = 2, .groups = 4}), "pool"),
      "fc", 2);
  CHECK(refusal(quantized(wide_window)).find("conv2d window has kernel 5, stride 1, pad 2") !=
        std::string::npos);

  Graph deep;  // 70000 products of 255 and 127
  linear(global_avg_pool(input(deep, {70000, 1, 1}), "pool"), "fc", 2);
  deep.params[0].value = Tensor({2, 70000}, 1);
  CHECK(refusal(quantized(deep)) ==
        "invalid_argument: [integer engine] linear fc sums 70000 products, which could overflow 32 bits");

  const QuantizedGraph q = quantized(graph);
  const IntegerProgram program = lower(q.graph, q.plan);
  IntegerEngine engine(program, 2);
  CHECK(error_of([&] {
          engine.run(Tensor({1, 3, 32, 32}));
        }) == "invalid_argument: [integer engine] input [1, 3, 32, 32] instead of [1, 3, 64, 64]");
  CHECK(error_of([&] {
          engine.run(Tensor({3, 3, 64, 64}));
        }) == "invalid_argument: [integer engine] 3 images in a batch of up to 2");
}

TEST_CASE("integer engine: 16 bits inside of attention are refused, by node and input") {
  for (const char* arch : {"mobilevit_xxs", "mobilevitv2_050"}) {
    const QuantizedGraph q = quantized(generated_model(*find_arch(arch), 5, 64).graph);
    int refused = 0;
    for (std::size_t i = 0; i < q.plan.layers.size(); ++i) {
      const LayerPlan& layer = q.plan.layers[i];
      const bool inside = layer.op == "matmul" || layer.op == "softmax" || layer.op == "mul";
      if (!inside || !layer.node.starts_with("stages.2.1.transformer.0.")) continue;
      for (std::size_t slot = 0; slot < layer.inputs.size(); ++slot) {
        QuantizedGraph wide = q;
        QParams& params = std::get<QParams>(wide.plan.layers[i].inputs[slot].quantizer);
        params.qmax = params.qmin + 65535;
        CHECK(error_of([&] { lower(wide.graph, wide.plan); }) ==
              concat("invalid_argument: [integer engine] ", layer.op, " ", layer.node, " reads input ", slot,
                     " with 16 bits"));
        ++refused;
      }
    }
    CHECK(refused == 5);
  }
}

TEST_CASE("integer engine: sums over more tokens than 32 bits hold are refused") {
  for (const int version : {1, 2}) {
    const auto network = [&](int side) {
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
      const Value x = conv2d(input(graph, {3, side, side}), "stem", 8, {});
      const Value y =
          version == 1 ? mobilevit_block_v1(x, "block", arch, 2) : mobilevit_block_v2(x, "block", arch, 2);
      linear(global_avg_pool(y, "pool"), "fc", 2);
      generate_weights(graph);
      return fold_batch_norm(std::move(graph));
    };
    const QuantPlan plan = quantized(network(8)).plan;
    CHECK(error_of([&] { lower(network(256), plan); }) == "no error");
    CHECK(error_of([&] {
            lower(network(258), plan);
          }).find("sums 16641 products, which could overflow 32 bits") != std::string::npos);
  }
}
