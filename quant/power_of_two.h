// Power-of-two factors (FQ-ViT, arXiv 2111.13824, section 3.2): channels of very different size with integer
// arithmetic that needs nothing but shifts. What a normalisation reads is quantised with
//
//   x^ = s_c (q - z),   s_c = (s / 2^K) 2^a_c,   a_c = 0 .. K,   K = 3
//
// where s and z are the affine parameters of the whole tensor: one zero point, and (q - z) shifted left by
// a_c has the one scale s / 2^K in all channels, so that integers sum to mean and variance over them. a_c is
// the exponent of least squared error in its channel; among equal ones the smallest.
#pragma once

#include <array>
#include <vector>

#include "quant/qparams.h"

namespace qhv {

inline constexpr int kLargestExponent = 3;  // K

/// Squared errors by channel and exponent.
using FactorErrors = std::vector<std::array<double, kLargestExponent + 1>>;

/// Adds those of another tensor.
void add(FactorErrors& total, const FactorErrors& errors);

/// Of x by index of `axis`, with `whole` per tensor.
FactorErrors factor_errors(const Tensor& x, const QParams& whole, int axis);

/// The parameters with the exponents of least error.
QParams power_of_two_factor(const QParams& whole, int axis, const FactorErrors& errors);

}  // namespace qhv
