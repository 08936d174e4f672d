// Bits by layer under a budget: each layer gets 4, 6 or 8 such that the sum of the layers' errors is least
// while the network stays within a share of what it costs at 8 bits.
//
// A layer's error is the search's objective (objective.h) of its output when this layer alone is quantised,
// with ranges as method percentile has them: errors of different layers are comparable, because each is
// weighed by how much it matters to the answer. That they add up is an approximation (as in HAWQ, Dong et
// al., arXiv 1911.03852, equation 10).
//
// The choice itself is exact: a knapsack with one of three things for each layer, by dynamic programming.
#pragma once

#include <array>
#include <optional>

#include "quant/calibrate.h"

namespace qhv {

enum class BudgetOf {
  kSize,          // bits of all weights; inputs have Calibration::abits everywhere
  kBitOperations  // multiplications times bits of both operands; weights and inputs of a layer have the same
};

/// "size", "bitops".
const char* budget_name(BudgetOf of);

inline constexpr std::array<int, 3> kBitChoices{4, 6, 8};

/// What a layer would cost and lose, by kBitChoices.
struct LayerChoices {
  std::string node;
  std::array<std::int64_t, 3> costs{};
  std::array<double, 3> errors{};
  std::optional<std::size_t> fixed = {};  // the only choice there is
};

/// All layers that the budget counts, without their errors. Those of `special` are fixed if their bits are
/// among the choices, and otherwise left out.
std::vector<LayerChoices> layer_costs(const Graph& graph, const SpecialBits& special, BudgetOf of);

/// Fills in what each layer loses on the calibration images.
void measure_errors(std::vector<LayerChoices>& layers, const Graph& graph, const Calibration& calibration,
                    BudgetOf of);

struct BitChoice {
  std::vector<std::size_t> chosen;  // for each layer an index into kBitChoices
  double share = 0;                 // of the cost at 8 bits
  double error = 0;                 // sum of the layers' errors
};

/// The least error within `budget` times the cost at 8 bits, which is kept to a thousandth. Throws
/// std::invalid_argument, saying the least possible share, if it is below that.
BitChoice choose_bits(const std::vector<LayerChoices>& layers, double budget);

/// As the layers' special bits; inputs have `abits` where the budget is one of size.
SpecialBits special_bits(const std::vector<LayerChoices>& layers, const BitChoice& choice, BudgetOf of,
                         int abits);

}  // namespace qhv
