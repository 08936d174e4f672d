// 3x3 convolutions in tiles of 4x4 outputs, F(4x4, 3x3) of Winograd's (Lavin and Gray, arXiv 1509.09308,
// section 4): 36 multiplications for each tile, input and output channel instead of 144.
//
//   y = A^T ((G g G^T) * (B^T d B)) A
//
// for a window d [6, 6] and a filter g [3, 3]; * multiplies element by element.
//
// The line of six stands for the values of polynomials at 0, +-sqrt(1/2), +-sqrt(2) and infinity. These
// points keep rounding within about twice that of the direct sum; the usual ones, 0, +-1 and +-2, make it
// five times.
//
// The executor computes convolutions so, and the operators their gradients. Float only.
#pragma once

#include "tensor/conv_windows.h"
#include "tensor/kernels/packed_matrix.h"
#include "tensor/thread_pool.h"

namespace qhv {

inline constexpr std::int64_t kWinogradPositions = 36;  // of a window of 6x6

/// Whether a convolution of a map [channels, height, width] to `out` channels can be computed so, and has
/// tiles enough that the 36 matrices, four times the weights' size, are worth reading.
bool suits_winograd(const ConvGeometry& g, std::int64_t channels, std::int64_t out, std::int64_t height,
                    std::int64_t width);

/// One of six lines of G g G^T, u [6, count], of filters whose taps lie in planes, [3, 3, count].
void winograd_filters(const float* taps, std::int64_t count, int line, float* u);
/// The adjoint of all lines for du [36, count], G^T du G: dg [count, 3, 3].
void winograd_filters_backward(const float* du, std::int64_t count, float* dg);

/// A 3x3 convolution with padding 1 of maps with their channels last.
struct WinogradConv {
  std::vector<PackedMatrix> weights;  // [channels, out] for each of the 36 positions of a window
  AlignedFloats bias;                 // [out]
  std::int64_t channels = 0, height = 0, width = 0;
  Activation activation = Activation::kNone;
};

/// `weight` [out, channels, 3, 3]; `bias` [out] or null.
WinogradConv winograd_conv(const FloatKernels& kernels, const Tensor& weight, const Tensor* bias,
                           std::int64_t height, std::int64_t width);

/// Floats of scratch memory that convolve() needs for so many maps, all threads together.
std::int64_t winograd_scratch(const WinogradConv& op, std::int64_t maps);

/// src [maps, height, width, channels] to dst [maps, height, width, out]. Threads share the tiles for the
/// transforms, and the positions for the products, so that each of them reads only a part of the weights.
void convolve(const WinogradConv& op, const FloatKernels& kernels, ThreadPool& pool, std::int64_t maps,
              const float* src, float* dst, float* scratch);

/// The gradients of a convolution that suits_winograd(), with the shapes of conv2d_backward_input() and
/// conv2d_backward_weight(); dx and dw are overwritten.
void winograd_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, const ConvSizes& s);
void winograd_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, const ConvSizes& s);

}  // namespace qhv
