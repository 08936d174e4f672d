// The ten architectures against timm in float64 (tests/golden/, made with weights that models/generated.h
// regenerates).
#include <cmath>
#include <doctest/doctest.h>
#include <map>
#include <nlohmann/json.hpp>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "nn/passes.h"
#include "nn/run.h"
#include "nn/shapes.h"
#include "tensor/file.h"
#include "tensor/parallel.h"
#include "tensor/safetensors.h"
#include "tests/support.h"

using namespace qhv;
using nlohmann::json;

namespace {

constexpr bool kDouble = sizeof(real) == 8;

const json& golden() {
  static const json parsed = [] {
    const auto bytes = read_file(test::golden_path("timm_golden.json"));
    return json::parse(reinterpret_cast<const char*>(bytes.data()),
                       reinterpret_cast<const char*>(bytes.data()) + bytes.size())
        .at("models");
  }();
  return parsed;
}

/// Empty, or what is wrong with a block's output. In double everything must agree to 1e-9 relative to the
/// values' size; in float the error grows with depth, and 2e-4 of the standard deviation is what the logits
/// are allowed too.
std::string statistics_error(const Tensor& x, const json& expected) {
  const auto extents = expected.at("shape").get<std::vector<std::int64_t>>();
  const Shape shape(extents.begin(), extents.end());
  if (x.shape() != shape) return concat("shape ", x.shape(), " instead of ", shape);
  double sum = 0, squares = 0;
  for (const real v : x.values()) sum += v;
  const double mean = sum / double(x.size());
  for (const real v : x.values()) squares += (v - mean) * (v - mean);
  const double std = std::sqrt(squares / double(x.size()));
  const double expected_std = expected.at("std"),
               scale = expected_std + std::abs(expected.at("mean").get<double>());
  const double tolerance = (kDouble ? 1e-9 : 2e-4) * scale;
  const auto check = [&](const std::string& what, double actual, double wanted) {
    return std::abs(actual - wanted) <= tolerance ? ""
                                                  : concat(what, " ", actual, " instead of ", wanted, "; ");
  };
  std::string wrong = check("mean", mean, expected.at("mean")) + check("std", std, expected_std);
  for (std::size_t i = 0; i < expected.at("first").size(); ++i)
    wrong += check(concat("element ", i), x[std::int64_t(i)], expected.at("first")[i]);
  return wrong;
}

/// Runs one variant at one resolution; returns everything that disagrees.
std::string compare(const Arch& arch, int res, const Tensor& expected_logits) {
  Graph graph = build_mobilevit(arch, 1000, res);
  generate_weights(graph);
  std::map<int, std::vector<std::string>> blocks_ending_at;
  for (const Block& block : graph.blocks) blocks_ending_at[block.end - 1].push_back(block.name);
  if (!arch.final_width) blocks_ending_at[find_node(graph, "head.global_pool") - 1].push_back("final_conv");

  std::string wrong;
  std::size_t compared = 0;
  const json& statistics = golden().at(arch.name).at("res").at(std::to_string(res));
  const auto on_node = [&](int node, std::span<const Tensor* const>, const Tensor& output) {
    for (const std::string& name : blocks_ending_at[node]) {
      if (!statistics.contains(name)) continue;
      ++compared;
      const std::string error = statistics_error(output, statistics.at(name));
      if (!error.empty()) wrong += concat(arch.name, " at ", res, ", ", name, ": ", error, "\n");
    }
  };
  const Tensor input = generate_input(1, 3, res, res);
  const Tensor logits = run(graph, input, {.on_edge = {}, .on_node = on_node});
  if (compared != statistics.size())
    wrong += concat(arch.name, ": ", compared, " blocks of ", statistics.size(), "\n");

  double largest = 0;
  for (const real v : expected_logits.values()) largest = std::max(largest, std::abs(double(v)));
  // The stored logits are float32, so the double build can only be compared to half an ulp of the largest.
  const double tolerance = (kDouble ? 1e-7 : 2e-4) * largest;
  const Tensor flat = Tensor(logits).reshaped({1000});
  if (const std::string error = test::difference(flat, expected_logits, tolerance); !error.empty())
    wrong += concat(arch.name, " at ", res, ", logits: ", error, "\n");
  const Tensor folded = run(fold_batch_norm(graph), input).reshaped({1000});
  if (const std::string error = test::difference(folded, expected_logits, tolerance); !error.empty())
    wrong += concat(arch.name, " at ", res, ", logits after folding: ", error, "\n");
  return wrong;
}

}  // namespace

TEST_CASE("all variants equal timm at three input sizes, block by block, before and after folding") {
  const TensorFile logits = read_safetensors(test::golden_path("timm_logits.safetensors"));
  struct Case {
    const Arch* arch;
    int res;
  };
  std::vector<Case> cases;
  for (const Arch& arch : known_archs())
    for (const int res : {256, 224, 192}) cases.push_back({&arch, res});
  std::vector<std::string> wrong(cases.size());
  golden();
  parallel_for(std::int64_t(cases.size()), 2, [&](std::int64_t i) {
    const Case& c = cases[std::size_t(i)];
    const std::string key = concat(c.arch->name, '.', c.res);
    wrong[std::size_t(i)] = compare(*c.arch, c.res, to_real(logits.tensors.at(key), key));
  });
  for (std::size_t i = 0; i < cases.size(); ++i) {
    INFO(cases[i].arch->name << " at " << cases[i].res);
    CHECK(wrong[i] == "");
  }
}

TEST_CASE("parameter and tensor counts equal timm's") {
  for (const Arch& arch : known_archs()) {
    const Graph graph = build_mobilevit(arch, 1000, 256);
    INFO(arch.name);
    CHECK(parameter_count(graph) == golden().at(arch.name).at("params").get<std::int64_t>());
    CHECK(graph.params.size() == golden().at(arch.name).at("tensors").get<std::size_t>());
  }
}

TEST_CASE("a bare network is the same without values, also folded") {
  for (const Arch& arch : known_archs()) {
    INFO(arch.name);
    const Graph bare = fold_batch_norm(build_mobilevit(arch, 10, 64, true)),
                graph = fold_batch_norm(build_mobilevit(arch, 10, 64));
    REQUIRE(bare.params.size() == graph.params.size());
    const std::vector<Shape> shapes = parameter_shapes(bare);
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      CHECK(bare.params[i].name == graph.params[i].name);
      CHECK(bare.params[i].value.size() == 0);
      CHECK(shapes[i] == graph.params[i].value.shape());
    }
    CHECK(parameter_count(bare) == parameter_count(graph));
    CHECK(test::error_of([&] { validate(bare); }) == "no error");
  }
}

TEST_CASE("any size from 32 up builds, also with maps that do not divide into patches") {
  for (const char* name : {"mobilevit_xxs", "mobilevitv2_050"})
    for (int res = 32; res <= 130; res += 7) {
      Graph graph = build_mobilevit(*find_arch(name), 10, res);
      generate_weights(graph);
      const Tensor y = run(graph, generate_input(2, 3, res, res));
      INFO(name << " at " << res);
      CHECK(y.shape() == Shape{2, 10});
      CHECK(std::all_of(y.values().begin(), y.values().end(), [](real v) { return std::isfinite(v); }));
    }
  CHECK(test::error_of([] { build_mobilevit(*find_arch("mobilevit_s"), 10, 31); }) ==
        "invalid_argument: [mobilevit_s] input size 31 is not in 32 .. 2048");
  CHECK(test::error_of([] { build_mobilevit(*find_arch("mobilevit_s"), 0, 256); }) ==
        "invalid_argument: [mobilevit_s] 0 classes");
}

TEST_CASE("an image's logits do not depend on its neighbours in the batch") {
  Graph graph = build_mobilevit(*find_arch("mobilevit_xxs"), 5, 64);
  generate_weights(graph);
  const Tensor batch = generate_input(3, 3, 64, 64);
  const Tensor together = run(graph, batch);
  for (std::int64_t i = 0; i < 3; ++i) {
    const Tensor alone = run(graph, slice(batch, 0, i, i + 1));
    // Matrix products of other sizes may sum in another order.
    CHECK(test::difference(alone, slice(together, 0, i, i + 1), kDouble ? 1e-12 : 1e-4) == "");
  }
}
