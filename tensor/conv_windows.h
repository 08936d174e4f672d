// What the convolution and its adjoints share; internal to conv.cpp, conv_backward.cpp and what they
// call (depthwise.h, winograd.h).
#pragma once

#include <algorithm>

#include "tensor/ops.h"

namespace qhv {

/// The extents of a convolution; `channels`, `group_out` and `window` (C / groups * k * k) are those of one
/// group.
struct ConvSizes {
  std::int64_t batch = 0, channels = 0, height = 0, width = 0, area = 0;
  std::int64_t group_out = 0, out_height = 0, out_width = 0, out_area = 0, window = 0;
  bool pointwise = false, depthwise = false;  // which of the three ways of conv.cpp
};

/// Checks geometry and shapes, in the name of `op`.
ConvSizes conv_sizes(const char* op, const Shape& x, const Shape& w, const ConvGeometry& g);

/// Output columns x for which x * stride + offset lies in [0, width).
struct ColumnRange {
  std::int64_t begin, end;
};
inline ColumnRange valid_columns(std::int64_t offset, std::int64_t stride, std::int64_t width,
                                 std::int64_t out_width) {
  const std::int64_t begin = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const std::int64_t end = offset >= width ? 0 : (width - 1 - offset) / stride + 1;
  return {std::min(begin, out_width), std::clamp(end, std::min(begin, out_width), out_width)};
}

/// Some rows of the output: windows are gathered for so many at a time that they stay in the cache.
struct Strip {
  std::int64_t begin, end;
};
std::int64_t strip_rows(const ConvSizes& s);

/// Those of which tap row ky lies on the map.
Strip valid_rows(std::int64_t ky, Strip rows, const ConvSizes& s, const ConvGeometry& g);

/// src [C, H, W] -> columns [C * k * k, rows of the strip * W'], zero where the window leaves the map.
void im2col(const real* src, real* columns, Strip rows, const ConvSizes& s, const ConvGeometry& g);

}  // namespace qhv
