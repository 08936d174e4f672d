// Input channels of a layer with weights, brought to a like size before they are quantised:
//
//   sum_c w_oc x_c = sum_c (w_oc a_c) (x_c / a_c)
//
// The input is quantised with one scale for x / a, so that channel c has the scale s a_c; the weight is
// quantised as w a. Integer arithmetic stays what it was: products of codes with one scale per output
// channel, and whoever writes the input knows its channel's scale. It is how a dense layer can have
// channel-wise activations at all (cross-layer equalisation, Nagel et al., arXiv 1906.04721; learnt in HyQ,
// moved into LayerNorm in RepQ-ViT).
#pragma once

#include <span>
#include <vector>

#include "quant/quantizer.h"

namespace qhv {

/// a_c = (r_c / mean)^exponent with r_c the largest magnitude in the range of channel c and their geometric
/// mean; 1 for a channel without values. Exponent 0 leaves the channels as they are, 1 makes them equal.
std::vector<float> equalization(const std::vector<Range>& ranges, double exponent);

/// The weight [O, C, ...] with channel c times factor[c], or divided by it; unchanged without factors.
Tensor multiply_channels(const Tensor& weight, std::span<const float> factors);
Tensor divide_channels(const Tensor& weight, std::span<const float> factors);

/// The weight's values on its grid, which is one of w a.
Tensor fake_quantize_weight(const Tensor& weight, const Quantizer& q, std::span<const float> factors);

/// Parameters for x from those for x / a: channel c of `axis` has the scale s a_c.
QParams spread(const QParams& per_tensor, std::span<const float> factors, int axis);

}  // namespace qhv
