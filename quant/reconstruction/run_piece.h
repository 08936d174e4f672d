// A stretch of a graph by itself, for one image.
#pragma once

#include <span>

#include "nn/run.h"
#include "quant/unit.h"

namespace qhv {

/// The values of `wanted` nodes of the unit, or of what it reads, from its externals (Unit::externals). Nodes
/// behind the last wanted one are not computed. Of the hooks, on_edge is called.
std::vector<Tensor> run_piece(const Graph& graph, const Unit& unit, std::span<const Tensor* const> externals,
                              std::span<const int> wanted, const RunHooks& hooks);

}  // namespace qhv
