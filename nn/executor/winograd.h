// 3x3 convolutions in tiles of 2x2 outputs, F(2x2, 3x3) of Winograd's (Lavin and Gray, arXiv 1509.09308,
// section 4.1): 16 multiplications for each tile, input and output channel instead of 36. The transforms only
// add, and halve once, so that rounding stays of the size that it has in the direct sum.
#pragma once

#include "nn/executor/program.h"

namespace qhv {

/// Whether the convolution can be computed so, and has tiles enough that the 16 matrices, 16 / 9 of the
/// weights' size, are worth reading.
bool suits_winograd(const Conv2d& op, std::int64_t height, std::int64_t width);

/// `weight` [out, channels, 3, 3]; `bias` [out] or null.
WinogradConv winograd_step(const FloatKernels& kernels, const Tensor& weight, const Tensor* bias,
                           std::int64_t height, std::int64_t width);

/// Floats of scratch memory that a thread needs.
std::int64_t winograd_scratch(const WinogradConv& op);

/// Blocks of tiles that an image has, which may be computed in any order.
std::int64_t winograd_blocks(const WinogradConv& op);

/// One block: src [height, width, channels] to its part of dst [height, width, out].
void winograd_block(const WinogradConv& op, const FloatKernels& kernels, std::int64_t block, const float* src,
                    float* dst, float* scratch);

}  // namespace qhv
