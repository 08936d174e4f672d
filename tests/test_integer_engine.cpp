// A network of integers: against its simulation, layer by layer; the same bits by all kernels and threads;
// and what it refuses.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <map>
#include <nlohmann/json.hpp>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "models/model.h"
#include "models/runner.h"
#include "nn/build.h"
#include "nn/passes.h"
#include "nn/run.h"
#include "nn/shapes.h"
#include "quant/fake_quant.h"
#include "quant/integer/engine.h"
#include "quant/integer/lower.h"
#include "quant/methods/methods.h"
#include "tests/allocations.h"
#include "tests/program.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;
using nlohmann::json;

namespace {

Tensor image_for(const Graph& graph, std::uint64_t seed, std::int64_t batch = 1) {
  const Input& in = std::get<Input>(graph.nodes[0].op);
  return random_tensor({batch, in.channels, in.height, in.width}, seed, 0, 1);
}

QuantizedGraph quantized(const Graph& graph, const char* method = "minmax", int wbits = 8, int abits = 8,
                         bool full = true) {
  const std::vector<Tensor> images{image_for(graph, 70), image_for(graph, 71)};
  return quantize_graph(find_method(method), graph,
                        {.images = images, .wbits = wbits, .abits = abits, .threads = 2, .full = full});
}

/// Where the tensors of a network keep what its integer program keeps in rows of pixels.
class Layout {
 public:
  explicit Layout(const Graph& graph)
      : shapes_(infer_shapes(graph)), patch_(graph.nodes.size(), 0), sides_(graph.nodes.size(), 0) {
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      const Node& node = graph.nodes[i];
      if (!node.inputs.empty()) {
        patch_[i] = patch_[std::size_t(node.inputs[0])];
        sides_[i] = sides_[std::size_t(node.inputs[0])];
      }
      if (const auto* unfold = std::get_if<UnfoldPatches>(&node.op)) patch_[i] = unfold->patch;
      if (std::holds_alternative<FoldPatches>(node.op)) patch_[i] = 0;
      if (shapes_[i].size() == 4 && !patch_[i]) sides_[i] = shapes_[i][2];
    }
  }

  /// Element of channel c of row r of what this node puts out.
  std::int64_t place(int node, std::int64_t r, std::int64_t c) const {
    const auto i = std::size_t(node);
    const Shape& shape = shapes_[i];
    const std::int64_t patch = patch_[i], side = sides_[i],
                       tokens = patch ? side * side / (patch * patch) : 0;
    if (patch) {  // to the token of this pixel: [position][patch]
      const std::int64_t y = r / side, x = r % side;
      r = (y % patch * patch + x % patch) * tokens + y / patch * (side / patch) + x / patch;
    }
    if (shape.size() == 4) return c * (element_count(shape) / shape[1]) + r;
    return r * shape.back() + c;
  }
  const Shape& shape(int node) const { return shapes_[std::size_t(node)]; }

 private:
  std::vector<Shape> shapes_;
  std::vector<std::int64_t> patch_, sides_;
};

/// How far the codes that integers make are from those of the simulation, where both read the same.
struct Agreement {
  std::int64_t elements = 0, off_by_one = 0, further = 0;
};

/// Every stored input of a node: what the simulation makes of the integer network's own inputs of the layer
/// before, rounded, against what the integer network stored. By layer that made it.
std::map<std::string, Agreement> layer_by_layer(const QuantizedGraph& q, const Tensor& image) {
  std::vector<StoredInput> inputs;
  const IntegerProgram program = lower(q.graph, q.plan, &inputs);
  IntegerEngine engine(program, 1, 1);
  std::vector<TensorI32> stored(inputs.size());
  engine.run(image, [&](std::size_t step) {
    for (const Output& output : program.steps[step].store.outputs)
      for (std::size_t i = 0; i < inputs.size(); ++i)
        if (inputs[i].form.buffer == output.buffer) stored[i] = engine.codes(inputs[i].form);
  });
  struct Plane {
    Encoding encoding;
    TensorI32 codes;
  };
  std::map<std::pair<int, int>, std::vector<Plane>> planes_of;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    planes_of[{inputs[i].edge.node, inputs[i].edge.slot}].push_back({inputs[i].form.encoding, stored[i]});
  std::map<std::string, Agreement> agreements;
  const Layout layout(q.graph);
  const RunHooks simulation = fake_quant_hooks(q.graph, q.plan);
  RunHooks hooks;
  hooks.on_edge = [&](Edge edge, const Tensor& x) -> std::optional<Tensor> {
    const auto input = planes_of.find({edge.node, edge.slot});
    const Node& node = q.graph.nodes[std::size_t(edge.node)];
    const int from = node.inputs.empty() ? -1 : node.inputs[std::size_t(edge.slot)];
    // The image has a border; rows of q, k and v are stored once for several readers.
    if (input == planes_of.end() || from == 0 || std::holds_alternative<MergeHeads>(node.op) ||
        std::holds_alternative<Mul>(node.op))
      return simulation.on_edge(edge, x);
    const Tensor rounded = *simulation.on_edge(edge, x);
    const std::vector<Plane>& planes = input->second;
    Tensor actual = Tensor::uninitialized(x.shape());
    Agreement& agreement = agreements[q.graph.nodes[std::size_t(from)].name];
    const std::int64_t columns = planes[0].encoding.columns();
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const auto c = std::size_t(i % columns);
      const std::int64_t at = layout.place(from, i / columns, std::int64_t(c));
      double value = 0;
      for (const auto& [e, codes] : planes) value += e.scale[c] * (codes[i] - e.zero[c]);
      actual[at] = real(value);
      // The low one of two planes has what is negative.
      const double scale = (rounded[at] < 0 ? planes.front() : planes.back()).encoding.scale[c],
                   off = std::abs(double(actual[at]) - double(rounded[at])) / scale;
      ++agreement.elements;
      agreement.off_by_one += off > 0.5 && off < 1.5;
      agreement.further += off >= 1.5;
    }
    return actual;
  };
  run(q.graph, image, hooks);
  return agreements;
}

}  // namespace

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
  for (LayerPlan& layer : q.plan.layers) {
    if (!layer.weight) continue;
    const int param = graph.nodes[std::size_t(find_node(graph, layer.node))].params[0];
    std::vector<Range> ranges = channel_ranges(graph.params[std::size_t(param)].value, 0);
    for (Range& r : ranges) r.hi *= 0.5;  // far from symmetric
    layer.weight->quantizer = affine_params(ranges, 8, 0);
  }
  q.graph = graph;
  quantize_weights(q.graph, q.plan);
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

namespace {

void check_same_bits(const QuantizedGraph& q) {
  const IntegerProgram program = lower(q.graph, q.plan);
  const Tensor x = image_for(q.graph, 9, 2);
  const TensorI32 expected = IntegerEngine(program, 2, 1, kIntegerKernelsRef).run(x);
  for (const IntegerKernels* table : integer_kernel_tables()) {
    if (!table->is_supported()) continue;
    CAPTURE(table->name);
    for (const int threads : {1, 2}) {
      IntegerEngine engine(program, 5, threads, *table);
      for (const std::int64_t batch : {1, 2}) {
        const Tensor part({batch, x.dim(1), x.dim(2), x.dim(3)},
                          std::vector<real>(x.values().begin(), x.values().begin() + x.size() / 2 * batch));
        const TensorI32 logits = engine.run(part);
        CHECK(std::equal(logits.values().begin(), logits.values().end(), expected.values().begin()));
      }
    }
  }
}

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
  for (LayerPlan& layer : q.plan.layers) {
    if (!layer.weight) continue;
    const int param = graph.nodes[std::size_t(find_node(graph, layer.node))].params[0];
    std::vector<Range> ranges = channel_ranges(graph.params[std::size_t(param)].value, 0);
    for (Range& r : ranges) r.hi *= 0.5;  // far from symmetric
    layer.weight->quantizer = affine_params(ranges, 8, 0);
    if (layer.node != "a") layer.inputs[0].quantizer = twin_silu(layer.node == "f" ? 2 : 4, 8);
  }
  q.graph = graph;
  quantize_weights(q.graph, q.plan);
  return q;
}

}  // namespace

TEST_CASE("integer engine: twin ranges before layers of every kind, behind nodes of every kind") {
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

TEST_CASE("integer engine: twin ranges that have no integer arithmetic are refused by name") {
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
        "has "
        "no integer arithmetic here");
  // Codes of weights and their zero points: 9 * 127 * 255 * 2^12 are 1.2e9 for "d", 24 times as much for "e".
  CHECK(refusal("d", twin_silu(12, 8)) == "no error");
  CHECK(
      refusal("d", twin_silu(16, 8)) ==
      "invalid_argument: [integer engine] conv2d d sums products with twin ranges whose steps have the ratio "
      "2^16, which could overflow 32 bits");
  CHECK(refusal("e", twin_silu(12, 8)).find("conv2d e sums products with twin ranges") != std::string::npos);
  CHECK(refusal("a", twin_silu(4, 8)).find("is read in more than one form") != std::string::npos);
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
