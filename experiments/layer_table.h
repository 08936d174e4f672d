// The decisions of a quantisation, one row for each quantised tensor, for people and for machines.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "quant/plan.h"

namespace qhv {

/// Layer, operator, tensor ("input", "input 1", "weight"), scheme, granularity, bits, scale range, zero
/// points, SQNR of the tensor and of the layer's output.
std::string layer_table(const QuantPlan& plan);

/// [{name, operator, tensor, scheme, granularity, bits, scale, zero_point, sqnr_db, layer_sqnr_db}]; scale
/// and zero_point are lists, of one element if the granularity is "tensor"; an SQNR without noise is null.
nlohmann::json layers_json(const QuantPlan& plan);

}  // namespace qhv
