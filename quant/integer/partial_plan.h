// A partial plan with its float islands: every layer that is an integer product is one (layer_product.h), and
// what lies between is computed in floating point by the reference interpreter, its planned inputs rounded as
// the simulation does (float_islands of planned_layers.h).
#pragma once

#include "nn/run.h"
#include "quant/plan.h"
#include "tensor/kernels/integer_kernels.h"

namespace qhv {

/// Hooks that make run() of this graph the network so computed. All arguments must outlive them. Throws
/// std::invalid_argument "[integer engine] ...", naming the node, for a layer that LayerProduct refuses.
RunHooks partial_plan_hooks(const Graph& graph, const QuantPlan& plan,
                            const IntegerKernels& kernels = best_integer_kernels());

}  // namespace qhv
