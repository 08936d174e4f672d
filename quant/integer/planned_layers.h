// The layers of a graph that a plan quantises, one at a time, as integer arithmetic needs them: a layer's
// plan, the encodings of its inputs, and errors that name it. How values go from layer to layer in a network
// of integers alone is readers.h.
#pragma once

#include <string>
#include <vector>

#include "nn/run.h"
#include "quant/integer/encoding.h"
#include "quant/plan.h"

namespace qhv {

class PlannedLayers {
 public:
  /// Both arguments must outlive it.
  PlannedLayers(const Graph& graph, const QuantPlan& plan);

  /// Throws std::invalid_argument for a node without a plan.
  const LayerPlan& layer(int node) const;

  /// Whether the node is a convolution, a linear layer or a matrix product whose operands all have uniform
  /// quantisers.
  bool is_integer_product(int node) const;

  /// The encoding of an input as its node reads it. `columns`: of a row, or heads. Throws
  /// std::invalid_argument, naming the node, for quantisers without integer arithmetic.
  Encoding encoding(Edge edge, std::int64_t columns) const;
  /// The same of a convolution or linear layer, which may read the two planes (planes.h) of twin ranges: its
  /// input is then the sum of both.
  std::vector<Encoding> encodings(Edge edge, std::int64_t columns) const;
  /// The encoding of an input of a node that has arithmetic for bytes alone.
  Encoding byte_encoding(Edge edge, std::int64_t columns) const;

  /// Of a node's output, for one image.
  const Shape& shape(int node) const { return shapes_[std::size_t(node)]; }
  /// Its axis of channels, or heads; rows (pixels or tokens) and channels of it.
  int channel_axis(int node) const;
  std::int64_t rows(int node) const;
  std::int64_t channels(int node) const;

  /// What opens an error message about the node.
  std::string where(int node) const;
  [[noreturn]] void unsupported(int node, const std::string& why) const;

 protected:
  const Graph& graph_;

 private:
  const QuantPlan& plan_;
  std::vector<Shape> shapes_;
  std::vector<int> layer_of_;  // or -1
};

/// Of the nodes that compute with values (quantizable_nodes and full_nodes of plan.h) those that a partial
/// plan leaves to floating point: what it says nothing of, and layers with quantisers that have no integer
/// products, which are simulated. In the order of the graph; none for a full plan.
std::vector<int> float_islands(const Graph& graph, const QuantPlan& plan);

}  // namespace qhv
