// The compiled network against the reference interpreter.
#include <cmath>
#include <doctest/doctest.h>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "models/runner.h"
#include "nn/build.h"
#include "quant/fake_quant.h"
#include "quant/methods/methods.h"
#include "tests/allocations.h"
#include "tests/support.h"

using namespace qhv;

namespace {

/// Empty, or how the executor's answer differs from the interpreter's. Both are off by a chain of some 100
/// layers whose every sum loses about sqrt(depth) * 2^-24, relative to logits of size 1; PyTorch is allowed
/// 2e-4, here it is 2e-5.
std::string compare(const Graph& graph, std::int64_t batch, int threads, const FloatKernels& kernels) {
  const Input& in = std::get<Input>(graph.nodes[0].op);
  const Tensor x = generate_input(batch, in.channels, in.height, in.width);
  const Tensor expected = run(graph, x);
  double size = 0;
  for (const real v : expected.values()) size = std::max(size, std::abs(double(v)));
  const Program program = compile(graph, kernels);
  return test::difference(Executor(program, batch, threads).run(x), expected, 2e-5 * size);
}

Graph network(const char* name, int res) { return generated_model(*find_arch(name), 1000, res).graph; }

}  // namespace

TEST_CASE("executor: all architectures at all sizes") {
  for (const Arch& arch : known_archs())
    for (const int res : {192, 224, 256, 320, 384}) {
      CAPTURE(arch.name);
      CAPTURE(res);
      CHECK(compare(network(arch.name.c_str(), res), 1, 2, best_float_kernels()) == "");
    }
}

TEST_CASE("executor: batches, threads and kernels") {
  for (const char* name : {"mobilevit_xxs", "mobilevitv2_050", "mobilevitv2_075"}) {
    CAPTURE(name);
    const Graph graph = network(name, 128);
    for (const FloatKernels* kernels : float_kernel_tables()) {
      CAPTURE(kernels->name);
      if (kernels->is_supported()) CHECK(compare(graph, 2, 1, *kernels) == "");
    }
    const Program program = compile(graph);
    const Tensor x = generate_input(5, 3, 128, 128);
    Executor alone(program, 1);
    std::vector<Tensor> one_by_one;
    std::vector<const Tensor*> parts;
    for (std::int64_t i = 0; i < 5; ++i) one_by_one.push_back(alone.run(slice(x, 0, i, i + 1)));
    for (const Tensor& y : one_by_one) parts.push_back(&y);
    const Tensor expected = concat_axis(parts, 0);
    for (const int threads : {1, 2, 3}) {
      Executor executor(program, 5, threads);
      for (const std::int64_t batch : {5, 1, 2, 3, 4})
        CHECK(test::difference(executor.run(slice(x, 0, 0, batch)), slice(expected, 0, 0, batch), 0) == "");
    }
  }
}

TEST_CASE("executor: a second run allocates nothing but its result") {
  for (const std::string name : {"mobilevit_xxs", "mobilevitv2_050"}) {
    // 96 is not a multiple of 64, so that there are resizes.
    const Model model = generated_model(*find_arch(name), 10, 96);
    const Tensor images = generate_input(3, 3, 96, 96);
    const std::vector<Tensor> calibration{slice(images, 0, 0, 1)};
    Model quantized = model;
    const QuantizedGraph q = quantize_graph(find_method("hyq"), model.graph, {.images = calibration});
    quantized.graph = q.graph;
    quantized.plan = q.plan;
    for (const Model& m : {model, quantized}) {
      const Program program = compile_model(m);
      for (const int threads : {1, 2})
        for (const std::int64_t batch : {1, 3}) {
          CAPTURE(name);
          CAPTURE(threads);
          CAPTURE(batch);
          const Tensor x = slice(images, 0, 0, batch);
          Tensor logits;
          const std::int64_t of_result = test::allocations_of([&] {
            logits = Tensor::uninitialized({batch, program.outputs});
          });
          CHECK(of_result > 0);
          Executor executor(program, batch, threads);
          executor.run(x);
          for (int i = 0; i < 2; ++i)
            CHECK(test::allocations_of([&] { logits = executor.run(x); }) == of_result);
        }
    }
  }
}

TEST_CASE("executor: what is not fused has a step of its own") {
  Graph graph;
  Value x = input(graph, {3, 8, 8});
  x = conv2d(x, "stem", 5, {.kernel = 3, .pad = 1}, true);
  const Value y = silu(x, "act");  // the sum reads x too: neither may be fused
  const Value sum = add(x, y, "sum");
  x = add(sum, conv2d(y, "project", 5, {.kernel = 3, .stride = 1, .pad = 1}, false), "fused");
  x = conv2d(concat_axis({x, y}, "joined", 1), "pointwise", 7, {}, true);
  x = conv2d(batch_norm(conv2d(x, "filter", 7, {.kernel = 3, .stride = 2, .pad = 1, .groups = 7}), "bn"),
             "last", 3, {});
  linear(global_avg_pool(resize_bilinear(x, "resized", {5, 3, true}), "pool"), "fc", 2);
  generate_weights(graph);
  CHECK(compare(graph, 2, 2, best_float_kernels()) == "");
  int activations = 0, additions = 0;
  for (const Step& step : compile(graph).steps) {
    activations += std::holds_alternative<ActivateMap>(step.op);
    additions += std::holds_alternative<AddMaps>(step.op);
  }
  CHECK(activations == 1);
  CHECK(additions == 1);
}

TEST_CASE("executor: buffers that live together do not overlap, and others share memory") {
  const Program program = compile(network("mobilevit_xs", 128));
  std::int64_t sum = 0;
  std::vector<NodeRange> alive(program.buffers.size());
  for (int i = 0; i < int(program.steps.size()); ++i) {
    alive[std::size_t(program.steps[std::size_t(i)].dst)] = {i, i};
    for (const int src : program.steps[std::size_t(i)].src) alive[std::size_t(src)].end = i;
  }
  for (std::size_t a = 0; a < alive.size(); ++a) {
    sum += program.buffers[a].size;
    for (std::size_t b = 0; b < a; ++b) {
      if (alive[a].begin > alive[b].end || alive[b].begin > alive[a].end) continue;
      const Buffer &p = program.buffers[a], &q = program.buffers[b];
      CHECK((p.offset + p.size <= q.offset || q.offset + q.size <= p.offset));
    }
  }
  CHECK(program.arena_size < sum / 4);
}

TEST_CASE("executor: rounds what layers read, as the interpreter's hooks do") {
  // A rounding without steps, so that the two agree closely: it bends every input of every layer, by head
  // more.
  for (const char* name : {"mobilevit_xxs", "mobilevitv2_050"}) {
    const Graph graph = network(name, 64);
    const std::vector<int> layers = quantizable_nodes(graph);
    const auto is_layer = [&](int node) { return std::ranges::count(layers, node) > 0; };
    const auto bend = [](float x, std::int64_t head) {
      return x / (1 + std::abs(x) / 8) * (1 + float(std::max<std::int64_t>(head, 0)) / 4);
    };
    const Program program = compile(graph, best_float_kernels(), [&](Edge edge) -> RoundRows {
      if (!is_layer(edge.node)) return {};
      return [&](const float* src, float* dst, std::int64_t rows, std::int64_t channels, std::int64_t head) {
        for (std::int64_t i = 0; i < rows * channels; ++i) dst[i] = bend(src[i], head);
      };
    });
    RunHooks hooks;
    hooks.on_edge = [&](Edge edge, const Tensor& x) -> std::optional<Tensor> {
      if (!is_layer(edge.node)) return std::nullopt;
      const bool product = std::holds_alternative<MatMul>(graph.nodes[std::size_t(edge.node)].op);
      Tensor y = x;
      for (std::int64_t i = 0; i < y.size(); ++i)
        y[i] = bend(x[i], product ? i / (x.dim(2) * x.dim(3)) % x.dim(1) : -1);
      return y;
    };
    const Tensor x = generate_input(1, 3, 64, 64), expected = run(graph, x, hooks);
    double size = 0;
    for (const real v : expected.values()) size = std::max(size, std::abs(double(v)));
    CHECK(test::difference(Executor(program, 1).run(x), expected, 1e-4 * size) == "");
    CHECK(test::difference(run(graph, x), expected, 1e-4 * size) != "");
  }
}

TEST_CASE("executor: a model with a plan is the fake-quantised network, with --full by the interpreter") {
  Model model = generated_model(*find_arch("mobilevit_xxs"), 10, 64);
  const Tensor both = generate_input(2, 3, 64, 64);
  const std::vector<Tensor> images{slice(both, 0, 0, 1), slice(both, 0, 1, 2)};
  for (const bool full : {false, true}) {
    Model quantized = model;
    // Values between two codes may fall to either side; of 16-bit activations these are close to each other.
    QuantizedGraph q = quantize_graph(find_method("minmax"), model.graph,
                                      {.images = images, .wbits = 4, .abits = 16, .full = full});
    quantized.graph = q.graph;
    quantized.plan = q.plan;
    Runner runner(quantized, 1, 1), reference(quantized, 1, 1, 1, "reference");
    CHECK(std::string(reference.kernels()) == "reference");
    CHECK((std::string(runner.kernels()) == "reference") == full);
    const Tensor expected = reference.run(images[0]), exact = run(model.graph, images[0]);
    const auto distance = [&](const Tensor& y) {
      double sum = 0;
      for (std::int64_t i = 0; i < y.size(); ++i) sum += std::pow(double(y[i] - expected[i]), 2);
      return std::sqrt(sum);
    };
    CHECK(distance(runner.run(images[0])) < 0.01 * distance(exact));
  }
}

TEST_CASE("executor: what it lacks is an error when compiling, by name") {
  const auto error = [](const std::function<Value(Value)>& build) {
    Graph graph;
    const Value x = conv2d(input(graph, {4, 6, 6}), "first", 4, {.kernel = 3, .pad = 1});
    linear(global_avg_pool(build(x), "pool"), "fc", 2);
    return test::error_of([&] { compile(graph); });
  };
  CHECK(error([](Value x) { return relu(x, "bent"); }) ==
        "invalid_argument: [compile] the executor has no step for relu bent outside of attention");
  CHECK(error([](Value x) {
          return conv2d(x, "grouped", 4, {.groups = 2});
        }).find("conv2d grouped with kernel 1") != std::string::npos);
  CHECK(error([](Value x) {
          return conv2d(x, "wide", 4, {.kernel = 5, .pad = 2, .groups = 4});
        }).find("conv2d wide with kernel 5") != std::string::npos);
  CHECK(error([](Value x) {
          return batch_norm(silu(x, "act"), "alone");
        }).find("batch_norm alone that does not follow") != std::string::npos);
  Graph graph;
  silu(input(graph, {3, 4, 4}), "act");
  CHECK(test::error_of([&] { compile(graph); }).find("is not [B, N]") != std::string::npos);
  const Program program = compile(network("mobilevit_xxs", 64));
  Executor executor(program, 2);
  CHECK(test::error_of([&] {
          executor.run(Tensor({1, 3, 64, 32}));
        }) == "invalid_argument: [executor] input [1, 3, 64, 32] instead of [1, 3, 64, 64]");
  CHECK(test::error_of([&] {
          executor.run(Tensor({3, 3, 64, 64}));
        }) == "invalid_argument: [executor] 3 images in a batch of up to 2");
}

TEST_CASE("thread pool: every item once, exceptions, and use after them") {
  ThreadPool pool(3);
  for (const std::int64_t count : {0, 1, 2, 1000}) {
    std::vector<int> done(std::size_t(count), 0);
    pool.run(count, [&](std::int64_t i, int thread) {
      CHECK(thread < 3);
      ++done[std::size_t(i)];
    });
    for (const int times : done) CHECK(times == 1);
  }
  CHECK(test::error_of([&] { pool.run(100, [](std::int64_t i, int) { require(i != 50, "item", i); }); }) ==
        "invalid_argument: [item] 50");
  std::atomic<int> count = 0;
  pool.run(10, [&](std::int64_t, int) { ++count; });
  CHECK(count == 10);
}
