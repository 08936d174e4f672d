#include "nn/init.h"

#include <cmath>

#include "tensor/rng.h"

namespace qhv {
namespace {

/// Fills the parameters of one node. Parameter i is the operator's i-th, as nn/graph.h states them.
struct Initialize {
  Graph& graph;
  const Node& node;
  std::uint64_t seed;
  bool ends_residual_branch;  // only an addition reads it

  Param& param(std::size_t i) const { return graph.params[std::size_t(node.params[i])]; }
  void fill(std::size_t i, real value) const {
    if (i < node.params.size()) std::ranges::fill(param(i).value.values(), value);
  }
  void uniform(std::size_t i, double bound) const {
    Param& p = param(i);
    const std::uint64_t own_seed = random_bits(seed, seed_of(p.name));
    for (std::int64_t k = 0; k < p.value.size(); ++k)
      p.value[k] = real((2 * unit_uniform(own_seed, std::uint64_t(k)) - 1) * bound);
  }
  void scale_and_shift(real scale) const {
    fill(0, scale);
    fill(1, 0);
  }

  void operator()(const Conv2d& op) const {
    const ConvGeometry& g = op.geometry;
    uniform(0, std::sqrt(6 / (double(op.out / g.groups) * g.kernel * g.kernel)));
    if (ends_residual_branch) fill(0, 0);
    fill(1, 0);
  }
  void operator()(const Linear&) const {
    uniform(0, 0.02 * std::sqrt(3.0));
    fill(1, 0);
  }
  void operator()(const BatchNorm&) const {
    scale_and_shift(ends_residual_branch ? 0 : 1);
    fill(2, 0);
    fill(3, 1);
  }
  void operator()(const LayerNorm&) const { scale_and_shift(1); }
  void operator()(const GroupNorm&) const { scale_and_shift(1); }
  template <typename Other>
  void operator()(const Other&) const {
    assert(node.params.empty());
  }
};

/// For every node whether it has one reader and that is an addition.
std::vector<bool> read_by_addition_only(const Graph& graph) {
  std::vector<int> readers(graph.nodes.size()), additions(graph.nodes.size());
  for (const Node& node : graph.nodes)
    for (const int input : node.inputs) {
      ++readers[std::size_t(input)];
      additions[std::size_t(input)] += std::holds_alternative<Add>(node.op);
    }
  std::vector<bool> result;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) result.push_back(readers[i] == 1 && additions[i] == 1);
  return result;
}

}  // namespace

void initialize(Graph& graph, std::uint64_t seed) {
  const std::vector<bool> ends_branch = read_by_addition_only(graph);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    std::visit(Initialize{graph, graph.nodes[i], seed, ends_branch[i]}, graph.nodes[i].op);
}

}  // namespace qhv
