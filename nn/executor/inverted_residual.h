// Inverted residuals without their expanded maps: a 1x1 convolution, a depthwise one and another 1x1, SiLU
// behind the first two, some rows at a time. The expanded map is four times what goes in and comes out, and
// would go through memory twice; of it only those rows exist that the depthwise windows need next.
#pragma once

#include "nn/executor/program.h"

namespace qhv {

/// Joins each such chain of three steps whose expanded map does not fit a second-level cache.
void fuse_inverted_residuals(Program& program);

/// Floats of scratch memory that a thread needs.
std::int64_t inverted_residual_scratch(const InvertedResidual& op);

/// Rows begin .. end of the output of one image: src [height, width, in] to dst [out_height, out_width, out].
/// `residual`, of dst's shape, is added; or null.
void inverted_residual_rows(const InvertedResidual& op, const FloatKernels& kernels, std::int64_t begin,
                            std::int64_t end, const float* src, const float* residual, float* dst,
                            float* scratch);

}  // namespace qhv
