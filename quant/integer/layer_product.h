// A single layer as an integer product between values: its inputs become codes by their quantisers, products
// of codes are added up in 32 bits, and the sums become values again by the product of the scales. What
// stands around the layer may be floating point: partial plans run so.
#pragma once

#include <span>
#include <variant>

#include "quant/integer/products.h"

namespace qhv {

class LayerProduct {
 public:
  /// Of a node that is_integer_product. All arguments must outlive it. Throws std::invalid_argument
  /// "[integer engine] ...", naming the node, for what the integer engine refuses too: 16-bit operands, sums
  /// that could overflow, convolutions without a kernel.
  LayerProduct(const Graph& graph, const PlannedLayers& layers, int node, const IntegerKernels& kernels);

  /// The node's output for inputs of the graph's shapes, in any batch. May be called by several threads.
  /// Throws std::invalid_argument, naming the node, for NaN, which has no code.
  Tensor run(std::span<const Tensor* const> inputs) const;

 private:
  Tensor convolve(const Conv2d& op, const Tensor& x) const;
  Tensor multiply(const Linear& op, const Tensor& x) const;
  Tensor multiply(const MatMul& op, const Tensor& a, const Tensor& b) const;
  Aligned<std::uint8_t> codes(int slot, const Tensor& x) const;

  const Graph& graph_;
  const PlannedLayers& layers_;
  int node_;
  const IntegerKernels& kernels_;
  Encoding input_;                                                  // of layers with weights
  std::variant<std::monostate, MultiplyCodes, DepthwiseCodes> op_;  // the same
  std::vector<Column> columns_;                                     // what their sums mean
};

}  // namespace qhv
