// A quantised network simulated in floating point: what each quantised layer reads is rounded to its grid on
// the way in.
#pragma once

#include <functional>
#include <span>

#include "nn/run.h"
#include "quant/plan.h"

namespace qhv {

/// Hooks that make run() of this graph the quantised network. They keep their own copy of the parameters.
RunHooks fake_quant_hooks(const Graph& graph, const QuantPlan& plan);

/// What rounds an input of a layer of this graph whose activations lie channels last, or nothing.
std::function<void(const real* src, real* dst, std::int64_t rows, std::int64_t channels, std::int64_t head)>
row_rounding(const Graph& graph, const QuantPlan& plan, Edge edge);

/// Rounds every planned weight of the graph to its grid.
void quantize_weights(Graph& graph, const QuantPlan& plan);

/// Fills in what the plan knows of its own quality: SQNR, saturation, zero-point overflows. Each layer is
/// judged alone: its inputs come from the float network `reference`, whose weights `quantized.graph` holds in
/// quantised form.
void measure_plan(QuantizedGraph& quantized, const Graph& reference, std::span<const Tensor> images,
                  int threads);

}  // namespace qhv
