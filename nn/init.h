// Weights for training from scratch.
//
//   Conv2d   weight uniform in +-sqrt(6 / fan_out), fan_out = out / groups * kernel^2: keeps the variance of
//            the gradients (He et al. 2015, equation 14; uniform in +-b has variance b^2 / 3)
//   Linear   weight uniform in +-0.02 sqrt(3): standard deviation 0.02, as vision transformers begin. Larger
//            ones (Glorot's) saturate the softmax of MobileViTv1, which then learns nothing for thousands of
//            steps.
//   norms    weight 1, bias 0, running_mean 0, running_var 1
//   biases   0
//
// but weight 0 for a BatchNorm or convolution that only an addition reads: a residual branch then begins as
// nothing (Goyal et al. 2017, section 5.1). MobileViTv2, whose transformers are convolutions without
// BatchNorm, stays at chance for hundreds of steps otherwise.
//
// The operator that owns a parameter decides, not the parameter's name; but its values depend on nothing else
// than the seed and its name, so a network with one more layer keeps the values of the others.
#pragma once

#include <cstdint>

#include "nn/graph.h"

namespace qhv {

/// Fills every parameter of a graph by the rule above.
void initialize(Graph& graph, std::uint64_t seed);

}  // namespace qhv
