// 3x3 convolutions in tiles of 2x2 outputs, F(2x2, 3x3) of Winograd's (Lavin and Gray, arXiv 1509.09308,
// section 4.1): 16 multiplications for each tile, input and output channel instead of 36. The transforms only
// add, and halve once, so that rounding stays of the size that it has in the direct sum.
//
// The executor computes convolutions so, and the operators their gradients. Float only.
#pragma once

#include "tensor/conv_windows.h"
#include "tensor/kernels/packed_matrix.h"

namespace qhv {

inline constexpr std::int64_t kWinogradPositions = 16;  // of a window of 4x4
inline constexpr std::int64_t kWinogradBlockTiles =
    48;  // whose windows and products fit a second-level cache

/// Whether a convolution of a map [channels, height, width] to `out` channels can be computed so, and has
/// tiles enough that the 16 matrices, 16 / 9 of the weights' size, are worth reading.
bool suits_winograd(const ConvGeometry& g, std::int64_t channels, std::int64_t out, std::int64_t height,
                    std::int64_t width);

/// Blocks of tiles that a map has, at most kWinogradBlockTiles each, all of about the same size; and one of
/// them.
std::int64_t winograd_blocks(std::int64_t height, std::int64_t width);
WinogradTiles winograd_block(std::int64_t block, std::int64_t height, std::int64_t width,
                             std::int64_t channels);

/// u [4, 4] = G g G^T of a filter g [3, 3], G being [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1].
void winograd_filter(const float* g, float* u);
/// Its adjoint, dg = G^T du G.
void winograd_filter_backward(const float* du, float* dg);

/// A 3x3 convolution with padding 1 of maps with their channels last.
struct WinogradConv {
  std::vector<PackedMatrix> weights;  // [channels, out] for each of the 16 positions of a window
  AlignedFloats bias;                 // [out]
  std::int64_t channels = 0, height = 0, width = 0;
  Activation activation = Activation::kNone;
};

/// `weight` [out, channels, 3, 3]; `bias` [out] or null.
WinogradConv winograd_conv(const FloatKernels& kernels, const Tensor& weight, const Tensor* bias,
                           std::int64_t height, std::int64_t width);

/// Floats of scratch memory that convolve_block() needs.
std::int64_t winograd_scratch(const WinogradConv& op);

/// One of the map's blocks, in any order: src [height, width, channels] to its part of dst [height, width,
/// out].
void convolve_block(const WinogradConv& op, const FloatKernels& kernels, std::int64_t block, const float* src,
                    float* dst, float* scratch);

/// The gradients of a convolution that suits_winograd(), with the shapes of conv2d_backward_input() and
/// conv2d_backward_weight(); dx and dw are overwritten.
void winograd_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, const ConvSizes& s);
void winograd_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, const ConvSizes& s);

}  // namespace qhv
