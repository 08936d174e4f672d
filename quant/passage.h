// A network on all images at once, a stretch of nodes at a time: for whoever looks at what a stretch reads
// and puts out, and changes the network before the next one.
#pragma once

#include <map>
#include <span>

#include "nn/run.h"
#include "quant/unit.h"

namespace qhv {

/// A stretch by itself, for one image: the values of `wanted` nodes of the unit from its externals
/// (Unit::externals). Nodes behind the last wanted one are not computed. Of the hooks, on_edge is called.
std::vector<Tensor> run_unit(const Graph& graph, const Unit& unit, std::span<const Tensor* const> externals,
                             std::span<const int> wanted, const RunHooks& hooks);

/// The values that later stretches read, by node and image. Node 0 is the network's input.
class Passage {
 public:
  /// The images must outlive it.
  Passage(std::span<const Tensor> images, int threads) : images_(images), threads_(threads) {}

  const Tensor& value(int node, std::size_t image) const {
    return node == 0 ? images_[image] : values_.at(node)[image];
  }
  std::vector<const Tensor*> values(const std::vector<int>& nodes, std::size_t image) const;

  /// Computes these nodes of the unit, whose externals have been computed, for all images.
  void pass(const Graph& graph, const Unit& unit, const std::vector<int>& outputs, const RunHooks& hooks);

  /// Adds shift[c] to index c of `axis` of what a node put out.
  void shift(int node, int axis, std::span<const double> shift);

  /// Forgets what no node from `begin` on reads, by last_uses() of the graph.
  void forget(const std::vector<int>& last_use, int begin);

 private:
  std::span<const Tensor> images_;
  int threads_;
  std::map<int, std::vector<Tensor>> values_;
};

}  // namespace qhv
