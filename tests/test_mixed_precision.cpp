// Bits by layer under a budget.
#include <cmath>
#include <doctest/doctest.h>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "models/model.h"
#include "quant/methods/methods.h"
#include "quant/mixed_precision.h"
#include "tensor/rng.h"
#include "tests/support.h"

using namespace qhv;

namespace {

/// Layers of random sizes whose errors fall with the bits.
std::vector<LayerChoices> random_layers(int count, std::uint64_t seed) {
  std::vector<LayerChoices> layers;
  for (int i = 0; i < count; ++i) {
    LayerChoices layer{.node = concat("layer", i)};
    const auto random = [&](int k) { return unit_uniform(seed, std::uint64_t(8 * i + k)); };
    const std::int64_t weights = 100 + std::int64_t(5000 * random(0));
    double error = random(1);
    for (std::size_t c = 0; c < 3; ++c) {
      layer.costs[c] = weights * kBitChoices[c];
      layer.errors[c] = error;
      error *= random(int(2 + c));
    }
    layers.push_back(layer);
  }
  return layers;
}

}  // namespace

TEST_CASE("mixed precision: the choice is the best of all that fit") {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    std::vector<LayerChoices> layers = random_layers(7, seed);
    if (seed % 2) layers[3].fixed = 2;
    for (const double budget : {0.7, 0.8, 0.9, 1.0}) {
      const BitChoice found = choose_bits(layers, budget);
      double full = 0, best = 1e9, error = 0;
      for (const LayerChoices& layer : layers) full += double(layer.costs[2]);
      for (int code = 0; code < 2187; ++code) {
        double cost = 0, sum = 0;
        bool allowed = true;
        for (std::size_t i = 0, rest = std::size_t(code); i < layers.size(); ++i, rest /= 3) {
          const std::size_t c = rest % 3;
          allowed &= layers[i].fixed.value_or(c) == c;
          cost += double(layers[i].costs[c]);
          if (!layers[i].fixed) sum += layers[i].errors[c];
        }
        // The budget is kept to a thousandth, so the best may lie that far below it.
        if (allowed && cost <= (budget - 1e-3) * full) best = std::min(best, sum);
      }
      for (std::size_t i = 0; i < layers.size(); ++i)
        if (!layers[i].fixed) error += layers[i].errors[found.chosen[i]];
      CHECK(test::near(found.error, error, 1e-12));
      CHECK(found.error <= best + 1e-12);
      CHECK(found.share <= budget + 1e-3);
      if (layers[3].fixed) CHECK(found.chosen[3] == 2);
    }
  }
  const std::vector<LayerChoices> layers = random_layers(3, 9);
  CHECK(choose_bits(layers, 0.5).chosen == std::vector<std::size_t>{0, 0, 0});
  CHECK(choose_bits(layers, 1).chosen == std::vector<std::size_t>{2, 2, 2});
  CHECK(test::error_of([&] { choose_bits(layers, 0.4); }) ==
        "invalid_argument: [mixed precision] a budget of 0.4 is below 0.5, the share that the fewest bits "
        "need");
}

TEST_CASE("mixed precision: choices of a network, and a plan that has them") {
  const Graph graph = generated_model(*find_arch("mobilevit_xxs"), 5, 64).graph;
  std::vector<Tensor> images;
  for (std::uint64_t i = 0; i < 3; ++i) images.push_back(test::random_tensor({1, 3, 64, 64}, i, 0, 1));
  Calibration calibration{.images = images, .special_bits = ends_in(graph, 8)};
  for (const BudgetOf of : {BudgetOf::kSize, BudgetOf::kBitOperations}) {
    std::vector<LayerChoices> layers = layer_costs(graph, calibration.special_bits, of);
    measure_errors(layers, graph, calibration, of);
    int rising = 0;
    for (const LayerChoices& layer : layers) {
      CHECK(layer.costs[0] < layer.costs[1]);
      CHECK(std::isfinite(layer.errors[0]));
      rising += layer.errors[0] < layer.errors[2];
    }
    CHECK(rising <= std::ssize(layers) / 10);  // nearly everywhere more bits lose less
    const BitChoice choice = choose_bits(layers, of == BudgetOf::kSize ? 0.7 : 0.5);
    Calibration mixed = calibration;
    mixed.special_bits = special_bits(layers, choice, of, 8);
    const QuantPlan plan = quantize_graph(find_method("minmax"), graph, mixed).plan;
    CHECK(plan.layers.size() >= layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const LayerPlan& layer = *std::ranges::find(plan.layers, layers[i].node, &LayerPlan::node);
      const int bits = kBitChoices[choice.chosen[i]];
      if (layer.weight) CHECK(bit_width(layer.weight->quantizer) == bits);
      CHECK(bit_width(layer.inputs[0].quantizer) == (of == BudgetOf::kSize ? 8 : bits));
    }
    CHECK(kBitChoices[choice.chosen[0]] == 8);
    CHECK(kBitChoices[choice.chosen.back()] == 8);
  }
}
