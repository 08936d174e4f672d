// The decisions of a quantisation, one row for each quantised tensor, for people and for machines.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quant/plan.h"

namespace qhv {

/// Layer, whether it lies in a bridge block, operator, tensor ("input", "input 1", "weight"), scheme,
/// granularity, bits, scale range, zero points, channels with zero-point overflow, clipped share, SQNR of the
/// tensor and of the layer's output, and the search's objective as a share of that at the default parameters.
std::string layer_table(const QuantPlan& plan, const Graph& graph);

/// [{name, bridge, operator, tensor, scheme, granularity, bits, scale, zero_point, overflows, saturation,
/// sqnr_db, layer_sqnr_db, score {default, chosen}}]; scale and zero_point are lists, of one element if the
/// granularity is "tensor" and of none if the quantiser is not uniform; an SQNR without noise is null; a
/// layer that was not searched has no score.
nlohmann::json layers_json(const QuantPlan& plan, const Graph& graph);

/// A tensor of a plan, which must outlive it.
struct PlannedTensor {
  const LayerPlan* layer;
  std::string name;  // "input", "input 1", "weight"
  const TensorPlan* plan;
};

std::vector<PlannedTensor> tensors_of(const QuantPlan& plan);

// Cells of the table.

/// "tensor", "channel", "group", "head" for an operand of a matrix product, "equalised" where the channels'
/// scales stand in the weight.
std::string granularity_text(const PlannedTensor& tensor);

/// "0.003", "0.001 .. 0.02", or empty for a quantiser that is not uniform.
std::string scale_text(const PlannedTensor& tensor);

/// The objective as a share of that at the default parameters, "x0.912"; empty without a search.
std::string score_text(const LayerPlan& layer);

}  // namespace qhv
