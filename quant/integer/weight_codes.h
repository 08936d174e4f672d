// Weights as integer kernels take them, and what products with them mean.
#pragma once

#include <vector>

#include "quant/integer/columns.h"
#include "tensor/tensor_file.h"

namespace qhv {

/// Whether codes of q fit signed bytes, and those bytes: the codes, less 128 if q has codes above 127.
bool fit_bytes(const QParams& q);
TensorI8 to_bytes(const TensorI32& codes, const QParams& q);
/// The same from a file's tensor. Empty unless its type is I8 or U8 and it has codes of q alone.
TensorI8 to_bytes(const RawTensor& raw, const QParams& q);

/// weight = scale[column] * (code - zero[column]), behind equalization. Codes are signed bytes in the order
/// in which windows over maps with channels last meet them: [columns][kernel, kernel][channels].
struct WeightCodes {
  std::vector<std::int8_t> codes;
  std::vector<double> scale;
  std::vector<std::int32_t> zero;

  std::int64_t columns() const { return std::int64_t(scale.size()); }
  std::int64_t depth() const { return std::int64_t(codes.size()) / columns(); }
  /// The zero points, or none if all of them are 0.
  std::vector<std::int32_t> zeros() const;
};

/// From the parameter's codes if it has any, otherwise from its value.
WeightCodes weight_codes(const Graph& graph, const PlannedLayers& layers, int node);

/// What sums of products with codes of x mean; `bias` may be null. Throws std::invalid_argument for sums that
/// could overflow 32 bits, and for channels of different scales that no equalization explains.
std::vector<Column> product_columns(const PlannedLayers& layers, int node, const WeightCodes& w,
                                    const Encoding& x, const Tensor* bias);

/// The same of a depthwise convolution, whose input channels may have any scales.
std::vector<Column> depthwise_columns(const PlannedLayers& layers, int node, const WeightCodes& w,
                                      const Encoding& x, const Tensor* bias);

/// The same of sums with the low plane of x plus 2^high_shift times those with the high one, from what each
/// means.
std::vector<Column> joined_planes(const PlannedLayers& layers, int node, std::vector<Column> low,
                                  const std::vector<Column>& high, int high_shift);

}  // namespace qhv
