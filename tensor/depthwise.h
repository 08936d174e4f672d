// Depthwise convolution and its adjoints, one channel of one map at a time; internal to conv.cpp and
// conv_backward.cpp, which check shapes.
#pragma once

#include "tensor/conv_windows.h"

namespace qhv {

/// x [B, C, H, W], w [C, 1, k, k], b [C] or null -> y [B, C, H', W'].
void depthwise(const Tensor& x, const Tensor& w, const Tensor* b, Tensor& y, const ConvSizes& s,
               const ConvGeometry& g);

/// dy and w -> dx.
void depthwise_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, const ConvSizes& s,
                              const ConvGeometry& g);

/// dy and x -> dw [C, 1, k, k].
void depthwise_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, const ConvSizes& s,
                               const ConvGeometry& g);

}  // namespace qhv
