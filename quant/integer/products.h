// Products of codes with codes of weights: as steps (program.h) of a network of integers or of a single
// layer, and their sums by the kernels of integer_kernels.h.
#pragma once

#include "quant/integer/weight_codes.h"

namespace qhv {

/// Of `rows` rows, `stride` codes apart, with all weights of a column: pointwise convolutions, linear layers.
MultiplyCodes multiply_rows(const WeightCodes& w, std::int64_t rows, std::int64_t stride);

/// A convolution without groups over a map of height x width with its border of g.pad.
MultiplyCodes multiply_windows(const WeightCodes& w, std::int64_t channels, const ConvGeometry& g,
                               std::int64_t height, std::int64_t width);

/// A depthwise convolution over a map without border.
DepthwiseCodes multiply_depthwise(const WeightCodes& w, const Encoding& x, const ConvGeometry& g,
                                  std::int64_t height, std::int64_t width);

/// Throws std::invalid_argument, naming the node, for a convolution that there are no kernels for.
void require_kernel(const Graph& graph, const PlannedLayers& layers, int node);

/// Throws std::invalid_argument, naming the node, unless sums of `depth` products of two maps' codes, with
/// either one's zero point, fit 32 bits, and so does every part of them.
void require_sums_fit(const PlannedLayers& layers, int node, std::int64_t depth);

/// From a row of sums to the next one: columns, filled up to whole panels.
std::int64_t sums_stride(const MultiplyCodes& op);

/// The sums of rows first .. first + count - 1 of an image's codes, zero points of weights subtracted.
void sum_rows(const IntegerKernels& kernels, const MultiplyCodes& op, const std::uint8_t* src,
              std::int64_t first, std::int64_t count, std::int32_t* sums);

/// The kernel's task for a plane of an image's codes; `op` must outlive it.
IntegerDepthwiseTask depthwise_task(const DepthwiseCodes& op, const std::uint8_t* src,
                                    std::int64_t plane = 0);

}  // namespace qhv
