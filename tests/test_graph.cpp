// Networks as data: building, checking, shapes and costs, folding of BatchNorm, and the hooks of run().
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <functional>
#include <limits>
#include <map>
#include <sstream>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "nn/passes.h"
#include "nn/run.h"
#include "nn/shapes.h"
#include "tests/support.h"

using namespace qhv;
using test::difference;
using test::error_of;

namespace {

constexpr double kEps = std::numeric_limits<real>::epsilon();

/// input, conv, norm, act, pool, fc on [B, 2, 4, 5], with generated weights.
Graph small_graph() {
  Graph graph;
  Value x = input(graph, {2, 4, 5});
  BlockScope block(graph, "features", BlockKind::kStem);
  x = conv2d(x, "conv", 4, {.kernel = 3, .pad = 1, .groups = 2});
  x = silu(batch_norm(x, "norm"), "act");
  block.close();
  linear(global_avg_pool(x, "pool"), "fc", 3);
  generate_weights(graph);
  return graph;
}

Node& node(Graph& graph, const std::string& name) { return graph.nodes[std::size_t(find_node(graph, name))]; }

const Tensor& param(const Graph& graph, const std::string& name) {
  return std::find_if(graph.params.begin(), graph.params.end(),
                      [&](const Param& p) { return p.name == name; })
      ->value;
}

/// Output of every node.
std::vector<Tensor> outputs(const Graph& graph, const Tensor& x) {
  std::vector<Tensor> all;
  run(graph, x, {.on_edge = {}, .on_node = [&](int, auto, const Tensor& y) { all.push_back(y); }});
  return all;
}

double largest(const Tensor& x) {
  double result = 0;
  for (const real v : x.values()) result = std::max(result, std::abs(double(v)));
  return result;
}

bool has_batch_norm(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(),
                     [](const Node& n) { return std::holds_alternative<BatchNorm>(n.op); });
}

}  // namespace

TEST_CASE("graph: building appends nodes with zero parameters and infers shapes") {
  Graph graph;
  const Value x = input(graph, {2, 6, 6});
  CHECK(x.shape == Shape{1, 2, 6, 6});
  const Value y = conv2d(x, "c", 4, {.kernel = 3, .stride = 2, .pad = 1, .groups = 2}, true);
  CHECK(y.shape == Shape{1, 4, 3, 3});
  CHECK(y.node == 1);
  const Value z = linear(global_avg_pool(batch_norm(y, "n"), "p"), "l", 5);
  CHECK(z.shape == Shape{1, 5});
  CHECK(graph.nodes.back().inputs == std::vector{3});
  std::string params;
  for (const Param& p : graph.params) params += concat(p.name, ' ', p.value.shape(), largest(p.value), "; ");
  CHECK(params ==
        "c.weight [4, 1, 3, 3]0; c.bias [4]0; n.weight [4]0; n.bias [4]0; n.running_mean [4]0; "
        "n.running_var [4]0; l.weight [5, 4]0; l.bias [5]0; ");
  validate(graph);

  Graph other;
  const Value elsewhere = input(other, {4, 3, 3});
  CHECK(error_of([&] { add(y, elsewhere, "sum"); }) == "invalid_argument: [sum] input of another graph");
  CHECK(error_of([&] { add(x, y, "sum"); }) ==
        "invalid_argument: [add sum] inputs [1, 2, 6, 6] and [1, 4, 3, 3]");
  CHECK(error_of([&] { conv2d(z, "c2", 4, {}); }) ==
        "invalid_argument: [c2] input [1, 5] is not [B, C, H, W]");
  CHECK(error_of([&] { conv2d(x, "c2", 3, {.groups = 2}); }) ==
        "invalid_argument: [conv2d c2] 2 -> 3 channels in 2 groups");
  CHECK(graph.nodes.size() == 5);  // what failed was not appended
}

TEST_CASE("graph: validate finds each kind of fault and names the node") {
  const std::vector<std::pair<std::function<void(Graph&)>, std::string>> cases{
      {[](Graph& g) { node(g, "norm").inputs[0] = 4; }, "[batch_norm norm] node 2 reads node 4"},
      {[](Graph& g) { node(g, "norm").inputs[0] = 2; }, "[batch_norm norm] node 2 reads node 2"},
      {[](Graph& g) { node(g, "norm").inputs[0] = -1; }, "[batch_norm norm] node 2 reads node -1"},
      {[](Graph& g) { node(g, "act").name = "conv"; }, "[silu conv] the name is taken"},
      {[](Graph& g) { node(g, "norm").params.pop_back(); }, "[batch_norm norm] 3 parameters instead of 4"},
      {[](Graph& g) { node(g, "act").params.push_back(0); }, "[silu act] 1 parameters instead of 0"},
      {[](Graph& g) { node(g, "fc").params[1] = 99; }, "[linear fc] no parameter 99"},
      {[](Graph& g) { node(g, "fc").params[1] = -1; }, "[linear fc] no parameter -1"},
      {[](Graph& g) { std::swap(node(g, "fc").params[0], node(g, "fc").params[1]); },
       "[linear fc] weight has shape [3] instead of [3, 4]"},
      {[](Graph& g) { g.params[1].value = Tensor(Shape(1, 5)); },
       "[batch_norm norm] weight has shape [5] instead of [4]"},
      {[](Graph& g) { g.blocks[0].end = 7; }, "[features] block of nodes 1 .. 7 in a graph of 6"},
      {[](Graph& g) { g.blocks[0].end = 1; }, "[features] block of nodes 1 .. 1"},
      {[](Graph& g) { g.blocks[0].begin = -1; }, "[features] block of nodes -1 .. 4"},
      {[](Graph& g) { node(g, "fc").inputs[0] = 3; }, "[linear fc] input [1, 4, 4, 5] for 4 channels"},
      {[](Graph& g) { node(g, "pool").inputs.push_back(0); }, "[global_avg_pool pool] 2 inputs instead of 1"},
      {[](Graph& g) { std::get<Input>(g.nodes[0].op).width = 0; }, "[input input] empty input"},
      {[](Graph& g) { std::get<Conv2d>(node(g, "conv").op).geometry.groups = 0; }, "[conv2d conv] kernel 3"},
      {[](Graph& g) { std::get<Conv2d>(node(g, "conv").op).geometry.stride = 0; }, "[conv2d conv] kernel 3"},
      {[](Graph& g) { std::get<Conv2d>(node(g, "conv").op).geometry.pad = -1; }, "[conv2d conv] kernel 3"},
      {[](Graph& g) {
         node(g, "act").op = Input{4, 4, 5};
       },
       "[input act] the first node, and no other"},
      {[](Graph& g) { g = Graph(); }, "[graph] no nodes"},
  };
  CHECK(error_of([] { validate(small_graph()); }) == "no error");
  for (const auto& [spoil, text] : cases) {
    Graph graph = small_graph();
    spoil(graph);
    const std::string error = error_of([&] { validate(graph); });
    INFO(error);
    CHECK(error.starts_with("invalid_argument: " + text));
  }
  CHECK(error_of([] { find_node(small_graph(), "none"); }) == "invalid_argument: [graph] no node \"none\"");
}

TEST_CASE("graph: parameters, multiply-accumulates, last readers and the listing") {
  const Graph graph = small_graph();
  CHECK(parameter_count(graph) == 36 + 8 + 12 + 3);  // conv, norm without its statistics, fc
  // 4 x 4 x 5 outputs of one channel's 3 x 3 window each; 3 outputs of 4 inputs.
  CHECK((mac_counts(graph) == std::vector<std::int64_t>{0, 720, 0, 0, 0, 12}));
  const auto macs = [](const Op& op, const std::vector<Shape>& in) {
    return mac_count(op, in, infer_shape(op, in, 1, "test"));
  };
  CHECK(macs(Conv2d{6, 8, {.kernel = 3, .stride = 2, .pad = 1}}, {{2, 6, 5, 7}}) == 2 * 8 * 3 * 4 * 6 * 9);
  CHECK(macs(Linear{4, 3}, {{2, 7, 4}}) == 2 * 7 * 3 * 4);
  CHECK(macs(MatMul{}, {{2, 3, 4, 5}, {2, 3, 5, 6}}) == 2 * 3 * 4 * 5 * 6);
  CHECK(macs(MatMul{.transpose_b = true}, {{2, 4, 5}, {2, 6, 5}}) == 2 * 4 * 5 * 6);
  CHECK(macs(Softmax{}, {{2, 4, 5}}) == 0);

  Graph diamond;
  const Value x = input(diamond, {1, 2, 2}), a = silu(x, "a"), b = relu(x, "b");
  silu(a, "unread");
  add(a, b, "sum");
  CHECK((last_uses(diamond) == std::vector{2, 4, 4, -1, 5}));
  CHECK((last_uses(graph) == std::vector{1, 2, 3, 4, 5, 6}));

  std::istringstream lines(dump(graph));
  std::string line;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    REQUIRE(std::getline(lines, line));
    INFO(line);
    CHECK(line.find(concat(i, "  ", op_name(graph.nodes[i].op), ' ')) != std::string::npos);
    CHECK(line.find(concat(' ', graph.nodes[i].name, ' ')) != std::string::npos);
    if (i != 1) continue;
    for (const char* part : {" [1, 4, 4, 5] ", " <- 0 ", " 36 params ", " 720 MACs ", " k3 s1 g2"})
      CHECK(line.find(part) != std::string::npos);
  }
  CHECK_FALSE(std::getline(lines, line));
}

TEST_CASE("graph: inferred shapes are those that run() produces, at every node") {
  for (const char* name : {"mobilevit_xxs", "mobilevitv2_050"})
    for (const int res : {64, 96}) {  // at 96 the last maps are 3 x 3: resized to patches
      Graph graph = build_mobilevit(*find_arch(name), 7, res);
      generate_weights(graph);
      const std::vector<Shape> expected = infer_shapes(graph, 3);
      const std::vector<Tensor> actual = outputs(graph, generate_input(3, 3, res, res));
      REQUIRE(actual.size() == expected.size());
      CHECK(expected.back() == Shape{3, 7});
      for (std::size_t i = 0; i < expected.size(); ++i) {
        INFO(name << " at " << res << ", " << graph.nodes[i].name);
        CHECK(actual[i].shape() == expected[i]);
      }
    }
}

TEST_CASE("graph: each variant has three bridge blocks, from the 1x1 convolution to the first projection") {
  for (const Arch& arch : known_archs()) {
    const Graph graph = build_mobilevit(arch, 2, 64);
    std::string found, expected;
    for (const Block& block : graph.blocks)
      if (block.kind == BlockKind::kBridge)
        found += concat(block.name, ": ", graph.nodes[std::size_t(block.begin)].name, " .. ",
                        graph.nodes[std::size_t(block.end - 1)].name, "\n");
    for (const int stage : {2, 3, 4}) {
      const std::string name = concat("stages.", stage, ".1");
      expected += concat(name, ".bridge: ", name, ".conv_1x1 .. ", name, ".transformer.0.attn.",
                         arch.version == 1 ? "qkv" : "qkv_proj", "\n");
    }
    INFO(arch.name);
    CHECK(found == expected);
  }
}

TEST_CASE("fold_batch_norm: weight and bias by hand, also of a convolution that has a bias") {
  for (const bool has_bias : {false, true}) {
    Graph graph;
    batch_norm(conv2d(input(graph, {1, 1, 1}), "conv", 1, {}, has_bias), "norm");
    std::get<BatchNorm>(graph.nodes[2].op).eps = 1;
    const std::vector<real> values = has_bias ? std::vector<real>{3, 2, 4, 5, 7, 3}
                                              : std::vector<real>{3, 4, 5, 7, 3};  // conv; w, b, mean, var
    for (std::size_t i = 0; i < values.size(); ++i) graph.params[i].value[0] = values[i];
    const Graph folded = fold_batch_norm(graph);
    validate(folded);
    REQUIRE(folded.nodes.size() == 2);
    REQUIRE(folded.params.size() == 2);
    CHECK(param(folded, "conv.weight")[0] == 6);                   // 3 * 4 / sqrt(3 + 1)
    CHECK(param(folded, "conv.bias")[0] == (has_bias ? -5 : -9));  // 5 + (2 or 0 - 7) * 2
    CHECK(graph.nodes.size() == 3);                                // the original is untouched
    CHECK(param(graph, "conv.weight")[0] == 3);
  }
}

TEST_CASE("fold_batch_norm: what the convolution puts out stays within rounding") {
  const Graph graph = small_graph(), folded = fold_batch_norm(graph);
  const Tensor x = generate_input(2, 2, 4, 5);
  // Both ways sum k = 9 products and round scale, shift, product and sum: 2 (k + 5) roundings of at most the
  // sum of magnitudes.
  Tensor w = param(folded, "conv.weight"), b = param(folded, "conv.bias");
  for (Tensor* t : {&w, &b})
    for (real& v : t->values()) v = std::abs(v);
  const double bound = largest(conv2d(x, w, &b, {.kernel = 3, .pad = 1, .groups = 2}));
  CHECK(difference(outputs(folded, x)[1], outputs(graph, x)[2], 2 * (9 + 5) * kEps / 2 * bound) == "");
}

TEST_CASE("fold_batch_norm: a MobileViT loses all of them, and its blocks keep their outputs") {
  for (const char* name : {"mobilevit_xxs", "mobilevitv2_050"}) {
    Graph graph = build_mobilevit(*find_arch(name), 7, 96);
    generate_weights(graph);
    const Graph folded = fold_batch_norm(graph);
    validate(folded);
    CHECK(has_batch_norm(graph));
    CHECK_FALSE(has_batch_norm(folded));
    REQUIRE(folded.blocks.size() == graph.blocks.size());
    const Tensor x = generate_input(1, 3, 96, 96);
    const std::vector<Tensor> before = outputs(graph, x), after = outputs(folded, x);
    for (std::size_t i = 0; i < graph.blocks.size(); ++i) {
      const Block &old = graph.blocks[i], &now = folded.blocks[i];
      INFO(name << ", " << old.name);
      CHECK(now.name == old.name);
      CHECK(now.kind == old.kind);
      CHECK(folded.nodes[std::size_t(now.begin)].name == graph.nodes[std::size_t(old.begin)].name);
      // A hundred layers, each of which rounds about 30 u apart (the root of 2 k) relative to its largest
      // value.
      const Tensor& expected = before[std::size_t(old.end - 1)];
      CHECK(difference(after[std::size_t(now.end - 1)], expected, 100 * 15 * kEps * largest(expected)) == "");
    }
  }
}

TEST_CASE("fold_batch_norm: stays where the convolution is read elsewhere or is not one") {
  Graph graph;
  const Value x = input(graph, {2, 3, 3}), first = batch_norm(x, "of_input");
  const Value shared = conv2d(first, "shared", 2, {.kernel = 3, .pad = 1});
  const Value sum = add(batch_norm(shared, "of_shared"), shared, "sum");
  const Value own = conv2d(sum, "own", 3, {}, true);
  relu(batch_norm(batch_norm(own, "of_own"), "of_norm"), "out");
  generate_weights(graph);
  const Graph folded = fold_batch_norm(graph);
  validate(folded);
  std::string names;
  for (const Node& n : folded.nodes) names += n.name + " ";
  CHECK(names == "input of_input shared of_shared sum own of_norm out ");
  const Tensor image = generate_input(2, 2, 3, 3);
  const Tensor expected = run(graph, image);
  // Two convolutions deep, at most 18 products each: 2 (18 + 5) roundings of values not much above the
  // largest.
  CHECK(difference(run(folded, image), expected, 2 * 2 * 23 * kEps * (1 + largest(expected))) == "");
}

TEST_CASE("run: on_edge sees every edge once, with the value that its producer put out") {
  Graph graph = build_mobilevit(*find_arch("mobilevitv2_050"), 3, 32);
  generate_weights(graph);
  const Tensor x = generate_input(1, 3, 32, 32);
  const std::vector<Tensor> values = outputs(graph, x);
  std::map<std::pair<int, int>, int> seen;
  bool right = true;
  const auto on_edge = [&](Edge edge, const Tensor& value) -> std::optional<Tensor> {
    ++seen[{edge.node, edge.slot}];
    const int source = graph.nodes[std::size_t(edge.node)].inputs.at(std::size_t(edge.slot));
    right &= difference(value, values[std::size_t(source)], 0).empty();
    return std::nullopt;
  };
  CHECK(difference(run(graph, x, {.on_edge = on_edge, .on_node = {}}), values.back(), 0) == "");
  CHECK(right);
  std::size_t edges = 0;
  for (const Node& n : graph.nodes) edges += n.inputs.size();
  CHECK(seen.size() == edges);
  CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& entry) { return entry.second == 1; }));
}

TEST_CASE("run: a replacement reaches only its own reader, and on_node sees what was read") {
  Graph graph;
  const Value x = input(graph, {1, 1, 2});
  const Value twice = add(x, x, "twice"), same = relu(x, "same");
  concat_axis({twice, same}, "out", 1);
  const auto on_edge = [](Edge edge, const Tensor&) -> std::optional<Tensor> {
    if (edge.node == 1 && edge.slot == 1) return Tensor({1, 1, 1, 2}, {10, 20});
    return std::nullopt;
  };
  std::vector<int> order;
  std::string read;
  const auto on_node = [&](int i, std::span<const Tensor* const> inputs, const Tensor& output) {
    order.push_back(i);
    if (i == 0) CHECK(inputs.size() == 1);
    if (i == 1)
      for (const Tensor* in : inputs) read += concat(in->values()[0], ' ');
    if (i == 1) CHECK(difference(output, Tensor({1, 1, 1, 2}, {11, 22}), 0) == "");
  };
  const Tensor y = run(graph, Tensor({1, 1, 1, 2}, {1, 2}), {.on_edge = on_edge, .on_node = on_node});
  CHECK(difference(y, Tensor({1, 2, 1, 2}, {11, 22, 1, 2}), 0) == "");
  CHECK((order == std::vector{0, 1, 2, 3}));
  CHECK(read == "1 10 ");
}

TEST_CASE("run: a node that is computed by the caller neither runs nor reads what on_edge would give it") {
  Graph graph;
  const Value x = input(graph, {1, 1, 2});
  const Value a = relu(x, "a"), sum = add(a, a, "sum");
  relu(sum, "out");
  std::vector<int> edges;
  std::string read;
  RunHooks hooks;
  hooks.compute_node = [&](int node, std::span<const Tensor* const> inputs) -> std::optional<Tensor> {
    if (node != sum.node) return std::nullopt;
    for (const Tensor* in : inputs) read += concat(in->values()[0], ' ');
    return Tensor({1, 1, 1, 2}, {-5, 7});
  };
  hooks.on_edge = [&](Edge edge, const Tensor&) -> std::optional<Tensor> {
    edges.push_back(edge.node);
    return std::nullopt;
  };
  Tensor seen;
  hooks.on_node = [&](int node, std::span<const Tensor* const>, const Tensor& output) {
    if (node == sum.node) seen = output;
  };
  const Tensor y = run(graph, Tensor({1, 1, 1, 2}, {1, 2}), hooks);
  CHECK(difference(y, Tensor({1, 1, 1, 2}, {0, 7}), 0) == "");
  CHECK(difference(seen, Tensor({1, 1, 1, 2}, {-5, 7}), 0) == "");
  CHECK((edges == std::vector{a.node, 3}));
  CHECK(read == "1 1 ");
}

TEST_CASE("run: a replacement of another shape is an error") {
  RunHooks hooks;
  hooks.on_edge = [](Edge, const Tensor&) { return std::optional<Tensor>(Tensor({1})); };
  CHECK(error_of([&] {
          run(small_graph(), Tensor({1, 2, 4, 5}), hooks);
        }) == "invalid_argument: [conv] input 0 of shape [1, 2, 4, 5] was replaced by one of shape [1]");
}

TEST_CASE("run: an input of another size than the graph's is an error") {
  const Graph graph = small_graph();
  const auto run_on = [&](const Shape& shape) { return error_of([&] { run(graph, Tensor(shape)); }); };
  CHECK(run_on({3, 2, 4, 5}) == "no error");
  CHECK(run_on({1, 2, 5, 4}) == "invalid_argument: [input] shape [1, 2, 5, 4] instead of [1, 2, 4, 5]");
  CHECK(run_on({2, 3, 4, 5}) == "invalid_argument: [input] shape [2, 3, 4, 5] instead of [2, 2, 4, 5]");
  CHECK(run_on({2, 4, 5}).starts_with("invalid_argument: [input] shape [2, 4, 5]"));
  CHECK(error_of([] { run(Graph(), Tensor({1})); }) == "invalid_argument: [run] empty graph");
}
