// Weights for training from scratch: bounds and constants by operator, values by seed and name.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "models/mobilevit.h"
#include "nn/build.h"
#include "nn/init.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

/// One layer of each kind that has parameters. The names lie: the convolution is called a norm.
Graph small_graph(bool extra_layer = false) {
  Graph graph;
  Value x = input(graph, {8, 6, 6});
  if (extra_layer) x = conv2d(x, "extra", 8, {});
  x = conv2d(x, "norm", 64, {.kernel = 3, .pad = 1, .groups = 4}, true);
  x = batch_norm(x, "conv");
  x = group_norm(x, "group");
  x = layer_norm(global_avg_pool(x, "pool"), "layer");
  linear(x, "head", 32);
  for (Param& p : graph.params) std::ranges::fill(p.value.values(), real(7));
  return graph;
}

const Tensor& param(const Graph& graph, const std::string& name) {
  return std::ranges::find(graph.params, name, &Param::name)->value;
}

bool is_all(const Tensor& x, real value) {
  return std::ranges::all_of(x.values(), [&](real v) { return v == value; });
}

/// Uniform in +-bound: near both ends, a mean near 0, a variance near bound^2 / 3.
void check_uniform(const Tensor& x, double bound) {
  double sum = 0, squares = 0;
  for (const real v : x.values()) sum += double(v), squares += double(v) * double(v);
  const double n = double(x.size());
  CHECK(*std::ranges::max_element(x.values()) <= bound);
  CHECK(*std::ranges::min_element(x.values()) >= -bound * (1 + 1e-7));
  CHECK(*std::ranges::max_element(x.values()) > 0.98 * bound);
  CHECK(*std::ranges::min_element(x.values()) < -0.98 * bound);
  CHECK(std::abs(sum / n) < 4 * bound / std::sqrt(3 * n));  // four standard deviations
  CHECK(near(squares / n / (bound * bound), 1.0 / 3, 4 * std::sqrt(4.0 / 45 / n)));
}

}  // namespace

TEST_CASE("init: the operator decides") {
  Graph graph = small_graph();
  initialize(graph, 1);
  check_uniform(param(graph, "norm.weight"), std::sqrt(6.0 / (64 / 4 * 9)));
  check_uniform(param(graph, "head.weight"), 0.02 * std::sqrt(3.0));
  for (const char* name :
       {"norm.bias", "conv.bias", "conv.running_mean", "group.bias", "layer.bias", "head.bias"})
    CHECK_MESSAGE(is_all(param(graph, name), 0), name);
  for (const char* name : {"conv.weight", "conv.running_var", "group.weight", "layer.weight"})
    CHECK_MESSAGE(is_all(param(graph, name), 1), name);
}

TEST_CASE("init: a branch that ends in an addition begins as nothing, whatever it ends with") {
  Graph graph;
  Value x = input(graph, {8, 6, 6});
  x = add(x, conv2d(x, "last", 8, {}, true), "add1");
  x = add(x, batch_norm(conv2d(x, "inner", 8, {}), "norm"), "add2");
  const Value shared = conv2d(x, "shared", 8, {});
  add(add(x, shared, "add3"), silu(shared, "silu"), "add4");
  initialize(graph, 1);
  for (const char* name : {"last.weight", "norm.weight"}) CHECK_MESSAGE(is_all(param(graph, name), 0), name);
  for (const char* name : {"inner.weight", "shared.weight"})
    CHECK_MESSAGE(!is_all(param(graph, name), 0), name);
}

TEST_CASE("init: values depend on the seed and the name alone") {
  Graph a = small_graph(), b = small_graph(true), c = small_graph();
  initialize(a, 1);
  initialize(b, 1);
  initialize(c, 2);
  for (const char* name : {"norm.weight", "head.weight"}) {
    CHECK(difference(param(b, name), param(a, name), 0) == "");
    CHECK(difference(param(c, name), param(a, name), 0) != "");
  }
  const double in_one = double(param(a, "norm.weight")[0]) / std::sqrt(6.0 / 144);
  const double in_other = double(param(a, "head.weight")[0]) / (0.02 * std::sqrt(3.0));
  CHECK(!near(in_one, in_other, 1e-5));
}

TEST_CASE("init: every parameter of a whole network") {
  for (const char* arch : {"mobilevit_xxs", "mobilevitv2_050"}) {
    Graph graph = build_mobilevit(*find_arch(arch), 10, 64);
    for (Param& p : graph.params) std::ranges::fill(p.value.values(), real(7));
    initialize(graph, 0);
    for (const Param& p : graph.params)
      CHECK_MESSAGE(std::ranges::none_of(p.value.values(), [](real v) { return v == 7; }), p.name);
  }
}
