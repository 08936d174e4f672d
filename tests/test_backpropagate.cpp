// Gradients through whole networks: against PyTorch's in float64, and the ways of computing them against each
// other.
#include <cmath>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "nn/attention.h"
#include "nn/passes.h"
#include "nn/run_tape.h"
#include "tensor/file.h"
#include "tests/support.h"

using namespace qhv;
using nlohmann::json;

namespace {

constexpr bool kDouble = sizeof(real) == 8;
constexpr double kTolerance = kDouble ? 1e-9 : 1e-4;

Graph generated(const std::string& arch, int res, int classes = 1000) {
  Graph graph = build_mobilevit(*find_arch(arch), classes, res);
  generate_weights(graph);
  return graph;
}

auto cross_entropy_with(std::vector<int> labels) {
  return [labels](Var logits) { return cross_entropy(logits, labels, 0); };
}

double norm(const Tensor& x) {
  double squares = 0;
  for (const real v : x.values()) squares += double(v) * v;
  return std::sqrt(squares);
}

void require_golden_gradients(const std::string& arch) {
  const auto bytes = read_file(test::golden_path("timm_golden.json"));
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const json golden = json::parse(text, text + bytes.size()).at("models").at(arch).at("grad64");
  const Graph graph = generated(arch, 64);
  const Backpropagated result =
      backpropagate(graph, generate_input(2, 3, 64, 64), cross_entropy_with(golden.at("labels")),
                    {.wanted_params = trainable_params(graph), .input = true});

  const auto check = [](const std::string& what, double actual, double expected, double scale) {
    INFO(what << ": " << actual << " instead of " << expected);
    CHECK(std::abs(actual - expected) <= kTolerance * scale);
  };
  check("loss", result.loss, golden.at("loss"), golden.at("loss"));
  check("input", norm(result.input), golden.at("input_grad_norm"), golden.at("input_grad_norm"));
  std::size_t compared = 0;
  for (std::size_t p = 0; p < graph.params.size(); ++p) {
    const std::string& name = graph.params[p].name;
    const Tensor& gradient = result.params[p];
    if (!is_trainable(graph.params[p])) {
      CHECK(gradient.size() == 0);
      continue;
    }
    const json& expected = golden.at("params").at(name);
    const double size = expected.at("norm");
    check(name, norm(gradient), size, size);
    for (std::size_t i = 0; i < expected.at("first").size(); ++i)
      check(concat(name, " element ", i), gradient[std::int64_t(i)], expected.at("first")[i], size);
    ++compared;
  }
  CHECK(compared == golden.at("params").size());
}

/// Output of one node.
Tensor run_until(const Graph& graph, const Tensor& x, const std::string& name) {
  Tensor value;
  const int wanted = find_node(graph, name);
  run(graph, x, {.on_node = [&](int node, auto, const Tensor& y) {
        if (node == wanted) value = y;
      }});
  return value;
}

/// Empty if all gradients of two passes are the same bits.
std::string bit_difference(const Backpropagated& a, const Backpropagated& b) {
  if (a.loss != b.loss) return "loss";
  if (const auto wrong = test::difference(a.output, b.output, 0); !wrong.empty()) return "output: " + wrong;
  if (const auto wrong = test::difference(a.input, b.input, 0); !wrong.empty()) return "input: " + wrong;
  if (a.params.size() != b.params.size()) return "number of parameters";
  for (std::size_t p = 0; p < a.params.size(); ++p)
    if (const auto wrong = test::difference(a.params[p], b.params[p], 0); !wrong.empty())
      return concat("parameter ", p, ": ", wrong);
  return "";
}

}  // namespace

TEST_CASE("gradients of mobilevit_xxs equal PyTorch's: loss, input, every parameter") {
  require_golden_gradients("mobilevit_xxs");
}

TEST_CASE("gradients of mobilevitv2_050 equal PyTorch's: loss, input, every parameter") {
  require_golden_gradients("mobilevitv2_050");
}

TEST_CASE("recomputation block by block gives the same bits in both modes") {
  for (const char* arch : {"mobilevit_xxs", "mobilevitv2_050"})
    for (const NormMode mode : {NormMode::kInference, NormMode::kTraining}) {
      INFO(arch << (mode == NormMode::kTraining ? " training" : " inference"));
      const Graph graph = generated(arch, 64, 10);
      const Tensor x = generate_input(2, 3, 64, 64);
      BackpropagateOptions options{.mode = mode, .wanted_params = trainable_params(graph), .input = true};
      const Backpropagated whole = backpropagate(graph, x, cross_entropy_with({1, 7}), options);
      options.recompute = true;
      const Backpropagated blockwise = backpropagate(graph, x, cross_entropy_with({1, 7}), options);
      CHECK(bit_difference(whole, blockwise) == "");
      CHECK(whole.statistics.size() == blockwise.statistics.size());
      CHECK(whole.statistics.empty() == (mode == NormMode::kInference));
      CHECK(recomputation_cuts(graph).size() >= 10);
    }
}

TEST_CASE("only what is wanted is computed and returned") {
  const Graph graph = generated("mobilevit_xxs", 64, 10);
  std::vector<bool> wanted(graph.params.size());
  wanted.back() = true;
  const Backpropagated result = backpropagate(graph, generate_input(2, 3, 64, 64), cross_entropy_with({1, 7}),
                                              {.wanted_params = wanted});
  CHECK(result.input.size() == 0);
  for (std::size_t p = 0; p < wanted.size(); ++p) CHECK((result.params[p].size() > 0) == wanted[p]);
}

TEST_CASE("recomputation keeps less memory alive than a tape of the whole graph") {
  const Graph graph = generated("mobilevit_xxs", 128, 10);
  const Tensor x = generate_input(1, 3, 128, 128);
  const auto peak_of = [&](int begin, int end, const std::map<int, Tensor>& before) {
    Tape tape;
    std::map<int, Var> given;
    for (const auto& [node, value] : before) given.emplace(node, tape.borrow(value, true));
    record(tape, graph, given, {.range = {begin, end}, .wanted_params = trainable_params(graph)});
    return tape.bytes();
  };
  const std::int64_t whole = peak_of(1, int(graph.nodes.size()), {{0, x}});
  std::map<int, Tensor> values;
  run(graph, x,
      {.on_edge = {}, .on_node = [&](int node, auto, const Tensor& y) { values.emplace(node, y); }});
  std::int64_t largest = 0;
  int begin = 1;
  for (const int cut : recomputation_cuts(graph)) {
    largest = std::max(largest, peak_of(begin, cut, {{begin - 1, values.at(begin - 1)}}));
    begin = cut;
  }
  INFO("whole " << whole << ", largest block " << largest);
  CHECK(3 * largest < whole);
}

TEST_CASE("the tape computes what the interpreter computes") {
  const Graph graph = fold_batch_norm(generated("mobilevit_xxs", 96, 10));  // 96: with both resizes
  const Tensor x = generate_input(2, 3, 96, 96);
  Tape tape;
  const Recorded recorded =
      record(tape, graph, {{0, tape.borrow(x, false)}}, {.range = {1, int(graph.nodes.size())}});
  int wrong = 0;
  run(graph, x, {.on_edge = {}, .on_node = [&](int node, auto, const Tensor& y) {
                   wrong += !test::difference(recorded.node(node).value(), y, 0).empty();
                 }});
  CHECK(wrong == 0);
}

TEST_CASE(
    "attention as one operator: the same values and gradients within rounding, without what is inside") {
  const Graph graph = generated("mobilevit_xxs", 64, 10);
  const Tensor x = generate_input(2, 3, 64, 64);
  const auto pass = [&](bool fused, Tensor& output) {
    Tape tape;
    const Var input = tape.leaf(x);
    const Recorded run =
        record(tape, graph, {{0, input}}, {.range = {1, int(graph.nodes.size())}, .fuse_attention = fused});
    CHECK(run.nodes[std::size_t(find_attention(graph, {0, int(graph.nodes.size())}).at(0).scores)]
              .has_value() == !fused);
    output = run.node(int(graph.nodes.size()) - 1).value();
    tape.seed(cross_entropy(run.node(int(graph.nodes.size()) - 1), {1, 7}, 0), Tensor(Shape{}, 1));
    tape.backward();
    return tape.take_gradient(input);
  };
  Tensor apart, fused;
  const Tensor dx = pass(false, apart), dx_fused = pass(true, fused);
  double largest = 0;
  for (const real v : dx.values()) largest = std::max(largest, std::abs(double(v)));
  const double eps = std::numeric_limits<real>::epsilon();
  CHECK(test::difference(fused, apart, 1000 * eps) == "");
  CHECK(test::difference(dx_fused, dx, 1000 * eps * largest) == "");
  Tape tape;
  CHECK(test::error_of([&] {
          record(tape, graph, {{0, tape.borrow(x, false)}},
                 {.range = {1, 9}, .on_edge = [](Edge, Var v) { return v; }, .fuse_attention = true});
        }).find("fused attention") != std::string::npos);
}

TEST_CASE("a range with given activations and weights, and gradients of both") {
  const Graph graph = generated("mobilevitv2_050", 64, 10);
  const Block* bridge = nullptr;
  for (const Block& block : graph.blocks)
    if (block.kind == BlockKind::kBridge && !bridge) bridge = &block;
  REQUIRE(bridge);
  std::map<int, Tensor> values;
  run(graph, generate_input(1, 3, 64, 64),
      {.on_edge = {}, .on_node = [&](int node, auto, const Tensor& y) { values.emplace(node, y); }});

  // y = f(x, w) of the bridge block alone; a weight from the caller's own leaf times 2 must double dy/dw.
  const int param = graph.nodes[std::size_t(bridge->begin)].params[0];
  const auto gradients = [&](double factor) {
    Tape tape;
    const Var x = tape.leaf(values.at(bridge->begin - 1));
    const Var half = tape.leaf([&] {
      Tensor w = graph.params[std::size_t(param)].value;
      for (real& v : w.values()) v = real(v / factor);
      return w;
    }());
    const Var scale = tape.constant(Tensor({1, 1, 1, 1}, real(factor)));
    const Recorded run = record(tape, graph, {{bridge->begin - 1, x}},
                                {.range = {bridge->begin, bridge->end}, .on_param = [&](int p) {
                                   return p == param ? std::optional(mul(half, scale)) : std::nullopt;
                                 }});
    const Var y = run.node(bridge->end - 1);
    CHECK(test::difference(y.value(), values.at(bridge->end - 1), 0) == "");  // 2 is exact
    tape.seed(y, Tensor(y.shape(), 1));
    tape.backward();
    return std::pair(tape.take_gradient(x), tape.take_gradient(half));
  };
  const auto [dx1, dw1] = gradients(1);
  const auto [dx2, dw2] = gradients(2);
  CHECK(test::difference(dx2, dx1, 0) == "");
  Tensor doubled = dw1;
  for (real& v : doubled.values()) v *= 2;
  CHECK(test::difference(dw2, doubled, 0) == "");
  CHECK(norm(dx1) > 0);
  CHECK(norm(dw1) > 0);
}

TEST_CASE("an edge may be replaced for one reader alone") {
  const Graph graph = fold_batch_norm(generated("mobilevit_xxs", 64, 10));
  const Tensor x = generate_input(1, 3, 64, 64);
  const int target = find_node(graph, "stages.2.1.conv_1x1");
  using Edges = std::vector<std::pair<int, int>>;
  Edges on_tape, in_run;
  Tape tape;
  const Recorded recorded =
      record(tape, graph, {{0, tape.borrow(x, false)}},
             {.range = {1, int(graph.nodes.size())}, .on_edge = [&](Edge edge, Var v) {
                on_tape.emplace_back(edge.node, edge.slot);
                return edge.node == target ? std::optional(round_straight_through(v)) : std::nullopt;
              }});
  const Tensor expected = run(graph, x, {.on_edge = [&](Edge edge, const Tensor& v) {
                                in_run.emplace_back(edge.node, edge.slot);
                                return edge.node == target ? std::optional(round_half_even(v)) : std::nullopt;
                              }});
  CHECK(test::difference(recorded.node(int(graph.nodes.size()) - 1).value(), expected, 0) == "");
  CHECK(on_tape == in_run);
}

TEST_CASE("gradients of chosen nodes' outputs, and nothing else is alive afterwards") {
  const Graph graph = fold_batch_norm(generated("mobilevit_xxs", 64, 10));
  const Tensor x = generate_input(1, 3, 64, 64);
  const int end = int(graph.nodes.size()), middle = find_node(graph, "stages.2.1.conv_1x1");
  Tape tape;
  const Recorded run = record(tape, graph, {{0, tape.leaf(x)}}, {.range = {1, end}});
  tape.keep(run.node(middle));
  const std::int64_t recorded = tape.bytes();
  tape.seed(cross_entropy(run.node(end - 1), {3}, 0), Tensor(Shape{}, 1));
  tape.backward();
  const std::int64_t of_middle = run.node(middle).value().size() * std::int64_t(sizeof(real));
  CHECK(tape.bytes() == 2 * of_middle + 2 * x.size() * std::int64_t(sizeof(real)));  // values and gradients
  CHECK(tape.bytes() < recorded / 10);

  // The same gradient by recording only what follows the node.
  Tape rest;
  const Var start = rest.leaf(run.node(middle).value());
  const Recorded after = record(rest, graph,
                                {{middle, start},
                                 {find_node(graph, "stages.2.0.conv3_1x1.conv"),
                                  rest.constant(run_until(graph, x, "stages.2.0.conv3_1x1.conv"))}},
                                {.range = {middle, end}});
  rest.seed(cross_entropy(after.node(end - 1), {3}, 0), Tensor(Shape{}, 1));
  rest.backward();
  const Tensor gradient = tape.take_gradient(run.node(middle));
  CHECK(norm(gradient) > 0);
  CHECK(test::difference(gradient, rest.take_gradient(start), 0) == "");
}

TEST_CASE("misuse of the tape is refused") {
  const Graph graph = generated("mobilevit_xxs", 64, 10);
  Tape tape;
  const int last = int(graph.nodes.size());
  CHECK(test::error_of([&] {
          record(tape, graph, {}, {.range = {0, last}});
        }).find("no value was given") != std::string::npos);
  CHECK(test::error_of([&] {
          record(tape, graph, {}, {.range = {5, 6}});
        }).find("was not given") != std::string::npos);
  CHECK(test::error_of([&] {
          record(tape, graph, {}, {.range = {0, last + 1}});
        }).find("nodes 0") != std::string::npos);
  CHECK(test::error_of([&] {
          backpropagate(graph, generate_input(1, 3, 96, 96), cross_entropy_with({1}), {});
        }).find("instead of [1, 3, 64, 64]") != std::string::npos);
  const Var x = tape.leaf(Tensor({2, 3}, 1)), y = silu(x), z = tape.constant(Tensor({2}));
  CHECK(test::error_of([&] {
          tape.seed(y, Tensor({3, 2}));
        }).find("gradient of shape [3, 2]") != std::string::npos);
  CHECK(test::error_of([&] { tape.take_gradient(z); }).find("was not asked for") != std::string::npos);
  tape.seed(y, Tensor({2, 3}, 1));
  tape.backward();
  CHECK(test::error_of([&] { (void)y.value(); }).find("was freed by backward") != std::string::npos);
  CHECK(test::error_of([&] { tape.take_gradient(y); }).find("was not asked for") != std::string::npos);
}

TEST_CASE("several gradients through one recording are those through recordings of their own") {
  const Tensor x = test::random_tensor({2, 3}, 1, -2, 2), w = test::random_tensor({4, 3}, 2, -1, 1);
  const std::vector<Tensor> seeds{test::random_tensor({2, 4}, 3, -1, 1),
                                  test::random_tensor({2, 4}, 4, -1, 1)};
  const auto gradients = [&](std::span<const Tensor> of) {
    Tape tape;
    const Var in = tape.leaf(x), inner = silu(in), y = softmax(linear(inner, tape.leaf(w), {}));
    tape.keep(inner);
    std::vector<Tensor> result;
    for (const Tensor& seed : of) {
      tape.seed(y, seed);
      tape.backward_again_later();
      result.push_back(tape.take_gradient(in));
      result.push_back(tape.take_gradient(inner));
    }
    return result;
  };
  const std::vector<Tensor> together = gradients(seeds);
  for (std::size_t i = 0; i < 2; ++i) {
    const std::vector<Tensor> alone = gradients(std::span(seeds).subspan(i, 1));
    for (std::size_t k = 0; k < 2; ++k) CHECK(test::difference(together[2 * i + k], alone[k], 0) == "");
  }
}
