// The scales of weights, thousands of numbers, as tensors of a model's file instead of text in its plan:
// reading them as text took half of the time in which a network of integers is loaded.
//
// A weight with more than one scale has them in the tensor "<layer>.weight.scale", F32 [n], and its plan
// none. Zero points that are all the same are in the plan once.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "quant/plan.h"
#include "tensor/tensor_file.h"

namespace qhv {

/// The plan as JSON without what goes into `file`.
nlohmann::json plan_to_file(const QuantPlan& plan, TensorFile& file);

/// What plan_from_json() could not know, from the file, whose tensors of scales are taken out. Of a plan that
/// has all scales it leaves everything as it is. std::runtime_error that begins with the path if a tensor is
/// missing or is not a list of numbers.
void complete_plan(QuantPlan& plan, TensorFile& file, const std::string& path);

}  // namespace qhv
