// Weights as integer kernels take them, and what products with them mean.
#pragma once

#include <functional>

#include "quant/integer/columns.h"

namespace qhv {

/// packed = code - shift, in a signed byte; weight = scale[column] * (packed - zero[column]), behind
/// equalization.
struct WeightCodes {
  TensorI32 packed;
  std::vector<double> scale;
  std::vector<std::int32_t> zero;
};

WeightCodes weight_codes(const Graph& graph, const Readers& readers, int node);

/// The zero points, or none if all of them are 0.
std::vector<std::int32_t> zeros_of(const WeightCodes& w);

/// What sums of `depth` products with codes of x mean, without the zero points of weights. weight(k, column)
/// is packed; k modulo the channels of x is the channel. `bias` may be null. Throws std::invalid_argument for
/// sums that could overflow 32 bits, and for channels of different scales that no equalization explains.
std::vector<Column> product_columns(
    const Readers& readers, int node, const WeightCodes& w, const Encoding& x, std::int64_t depth,
    const Tensor* bias, const std::function<std::int32_t(std::int64_t k, std::int64_t column)>& weight);

}  // namespace qhv
