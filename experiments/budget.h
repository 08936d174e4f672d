// Bits by layer under a budget (quant/mixed_precision.h), for the commands, and what each budget would cost:
//
//   CSV   budget,share,error,bits with a row for every 40th part between the fewest bits and 8 for all: the
//   share of
//         the cost at 8 bits that was allowed and is used, the sum of the layers' errors, and the mean bits
//         of weights (of operands, for bit operations)
//   SVG   error over share, on a logarithmic scale
#pragma once

#include <string>
#include <vector>

#include "experiments/quantize.h"
#include "quant/mixed_precision.h"

namespace qhv {

/// Adds --budget and --budget-of.
void add_budget_options(CLI::App& command, QuantizeOptions& options);

/// Adds the bits that --budget gives the layers to the calibration's special ones, and writes the curve of
/// all budgets to the files whose names are not empty. Does nothing if neither is wanted.
void apply_budget(const QuantizeOptions& options, const Graph& graph, const std::string& csv,
                  const std::string& svg, Calibration& calibration);

}  // namespace qhv
