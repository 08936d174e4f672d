// A graph and its full plan to a program of integers (program.h).
//
// Everything that floating point had to do with is decided here: weights become codes, scales become
// multipliers and shifts, functions become tables. Errors are std::invalid_argument that begin with
// "[integer engine" and name the node: what a plan leaves in floating point, quantisers without integer
// arithmetic (logarithmic ones of anything but a softmax; twin ones of anything else but layers with weights,
// for which the ranges have to meet at zero), 16-bit operands of matrix products and attention, sums that
// could overflow.
#pragma once

#include "quant/integer/program.h"
#include "quant/integer/readers.h"
#include "quant/plan.h"

namespace qhv {

/// `inputs`, if given, gets all inputs of nodes that are stored, with where they lie.
IntegerProgram lower(const Graph& graph, const QuantPlan& plan, std::vector<StoredInput>* inputs = nullptr);

}  // namespace qhv
