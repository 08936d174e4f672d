#include "quant/mixed_precision.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/shapes.h"
#include "quant/methods/methods.h"
#include "quant/objective.h"

namespace qhv {
namespace {

constexpr std::int64_t kUnits = 400000;  // of the cost at 8 bits

std::int64_t weight_count(const Graph& graph, const Node& node) {
  return has_weight(node) ? graph.params[std::size_t(node.params[0])].value.size() : 0;
}

/// The layer by itself, quantised as the plan says.
LayerQuantizers quantizers_of(const QuantPlan& plan, const Node& node, BudgetOf of) {
  const LayerPlan& layer = *std::ranges::find(plan.layers, node.name, &LayerPlan::node);
  LayerQuantizers quantizers{{}, layer.weight ? layer.weight->quantizer : Quantizer(Unquantized{}), {}};
  for (const TensorPlan& input : layer.inputs)
    quantizers.inputs.push_back(of == BudgetOf::kSize ? Quantizer(Unquantized{}) : input.quantizer);
  return quantizers;
}

std::int64_t sum_of_costs(const std::vector<LayerChoices>& layers, std::size_t choice) {
  std::int64_t sum = 0;
  for (const LayerChoices& layer : layers) sum += layer.costs[layer.fixed.value_or(choice)];
  return sum;
}

/// Costs of all at 8 bits, which a budget is a share of.
std::int64_t full_cost(const std::vector<LayerChoices>& layers) {
  std::int64_t sum = 0;
  for (const LayerChoices& layer : layers) sum += layer.costs.back();
  return sum;
}

}  // namespace

const char* budget_name(BudgetOf of) { return of == BudgetOf::kSize ? "size" : "bitops"; }

std::vector<LayerChoices> layer_costs(const Graph& graph, const SpecialBits& special, BudgetOf of) {
  const std::vector<std::int64_t> macs = mac_counts(graph);
  std::vector<LayerChoices> layers;
  for (const int index : quantizable_nodes(graph)) {
    const Node& node = graph.nodes[std::size_t(index)];
    if (of == BudgetOf::kSize && !has_weight(node)) continue;
    LayerChoices layer{.node = node.name};
    for (std::size_t c = 0; c < kBitChoices.size(); ++c)
      layer.costs[c] = of == BudgetOf::kSize ? weight_count(graph, node) * kBitChoices[c]
                                             : macs[std::size_t(index)] * kBitChoices[c] * kBitChoices[c];
    if (const auto found = special.find(node.name); found != special.end()) {
      const auto choice = std::ranges::find(kBitChoices, found->second.weight);
      if (choice == kBitChoices.end()) continue;
      layer.fixed = std::size_t(choice - kBitChoices.begin());
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

void measure_errors(std::vector<LayerChoices>& layers, const Graph& graph, const Calibration& calibration,
                    BudgetOf of) {
  std::vector<QuantPlan> plans;
  for (const int bits : kBitChoices) {
    Calibration all = calibration;
    all.wbits = all.abits = bits;
    all.special_bits.clear();
    plans.push_back(quantize_percentile(graph, all).plan);
  }
  const QuantizedGraph defaults = quantize_minmax(graph, calibration);
  std::vector<Unit> units;
  for (const LayerChoices& layer : layers) {
    const int node = find_node(graph, layer.node);
    units.push_back(make_unit(graph, {node, node + 1}));
  }
  std::size_t next = 0;
  for (const std::vector<Unit>& portion : portions(graph, units, calibration.images.size())) {
    const auto samples = sample_units(graph, defaults, portion, calibration.images,
                                      {.signal = calibration.signal.value_or(Signal::kFisher),
                                       .seed = calibration.seed,
                                       .threads = calibration.threads});
    for (std::size_t u = 0; u < portion.size(); ++u, ++next) {
      const UnitEvaluator evaluator(graph, portion[u], samples[u], Metric::kError, calibration.threads);
      const Node& node = graph.nodes[std::size_t(portion[u].output())];
      for (std::size_t c = 0; c < kBitChoices.size(); ++c)
        layers[next].errors[c] = evaluator.objective({quantizers_of(plans[c], node, of)});
    }
    if (calibration.progress) calibration.progress("bits by layer", double(next) / double(units.size()));
  }
}

BitChoice choose_bits(const std::vector<LayerChoices>& layers, double budget) {
  const double full = double(full_cost(layers)), least = double(sum_of_costs(layers, 0)) / full;
  require(budget >= least, "mixed precision", "a budget of ", budget, " is below ", least,
          ", the share that the fewest bits need");
  // least_error[u]: of the layers so far within u units; chosen[layer][u]: how the layer gets there.
  // Costs are rounded up; the units added here keep that from excluding a choice that fits.
  const std::int64_t units =
      std::int64_t(std::min(budget, 1.0) * double(kUnits)) + std::int64_t(layers.size());
  const double infinity = std::numeric_limits<double>::infinity();
  std::vector<double> least_error(std::size_t(units + 1), 0.0);
  std::vector<std::vector<std::uint8_t>> chosen;
  const auto cost_in_units = [&](const LayerChoices& layer, std::size_t c) {
    return std::int64_t(std::ceil(double(layer.costs[c]) / full * double(kUnits)));
  };
  for (const LayerChoices& layer : layers) {
    std::vector<double> next(least_error.size(), infinity);
    std::vector<std::uint8_t>& choice = chosen.emplace_back(least_error.size(), std::uint8_t(0));
    for (std::size_t c = 0; c < kBitChoices.size(); ++c) {
      if (layer.fixed.value_or(c) != c) continue;
      const std::int64_t cost = cost_in_units(layer, c);
      for (std::int64_t u = cost; u <= units; ++u) {
        const double error = least_error[std::size_t(u - cost)] + (layer.fixed ? 0 : layer.errors[c]);
        if (error >= next[std::size_t(u)]) continue;
        next[std::size_t(u)] = error;
        choice[std::size_t(u)] = std::uint8_t(c);
      }
    }
    least_error = std::move(next);
  }
  BitChoice result{std::vector<std::size_t>(layers.size()), 0, least_error[std::size_t(units)]};
  std::int64_t left = units, cost = 0;
  for (std::size_t i = layers.size(); i-- > 0;) {
    const std::size_t c = chosen[i][std::size_t(left)];
    result.chosen[i] = c;
    cost += layers[i].costs[c];
    left -= cost_in_units(layers[i], c);
  }
  result.share = double(cost) / full;
  return result;
}

SpecialBits special_bits(const std::vector<LayerChoices>& layers, const BitChoice& choice, BudgetOf of,
                         int abits) {
  SpecialBits bits;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const int chosen = kBitChoices[choice.chosen[i]];
    bits[layers[i].node] = {chosen, of == BudgetOf::kSize ? abits : chosen};
  }
  return bits;
}

}  // namespace qhv
