// Two quantisations of one network side by side, for example by two flavours of a search: the tensors whose
// parameters differ (quantiser, or equalization of the layer). Figures that decide nothing, such as an SQNR,
// are not compared.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "experiments/layer_table.h"

namespace qhv {

/// A tensor in both plans; in one of them it may not be quantised.
struct TensorDifference {
  std::optional<PlannedTensor> a, b;
};

/// The plans must outlive it.
struct PlanDifference {
  std::vector<TensorDifference> tensors;
  int same = 0;                    // tensors of equal parameters
  int better_a = 0, better_b = 0;  // layers whose search ended at a lower objective there
};

PlanDifference compare_plans(const QuantPlan& a, const QuantPlan& b);

/// A line for each tensor that differs, with scheme, granularity, bits, scale range and objective in both
/// plans, and a line about the others.
std::string difference_table(const PlanDifference& difference);

/// [{name, tensor, a {scheme, granularity, bits, scale, score {default, chosen}}, b}], as in layers_json; a
/// or b is null where that plan does not quantise the tensor.
nlohmann::json differences_json(const PlanDifference& difference);

}  // namespace qhv
