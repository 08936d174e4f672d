#include "tensor/winograd.h"

#include <algorithm>
#include <array>

#include "tensor/gemm_packed.h"
#include "tensor/kernels/aligned.h"

namespace qhv {
namespace {

std::int64_t tiles_of(std::int64_t height, std::int64_t width) {
  return (height + 1) / 2 * ((width + 1) / 2);
}

/// A map [channels, area] with its channels last.
void channels_last(const FloatKernels& kernels, const float* map, std::int64_t channels, std::int64_t area,
                   float* dst) {
  transpose_matrix(kernels, map, area, channels, area, dst, channels);
}

/// `filters` [16, channels, out]; `bias` [out] or null.
WinogradConv packed(const FloatKernels& kernels, const AlignedFloats& filters, const Tensor* bias,
                    std::int64_t channels, std::int64_t out, std::int64_t height, std::int64_t width) {
  WinogradConv op{{}, AlignedFloats(out), channels, height, width};
  if (bias) std::copy_n(bias->data(), out, op.bias.data());
  for (std::int64_t p = 0; p < kWinogradPositions; ++p)
    op.weights.push_back(pack_matrix(kernels, channels, out, filters.data() + p * channels * out));
  return op;
}

/// The convolution of dy with filters w [out, channels, 3, 3] turned by half a turn.
WinogradConv adjoint(const FloatKernels& kernels, const Tensor& w, const ConvSizes& s) {
  const std::int64_t count = s.group_out * s.channels;
  AlignedFloats filters(kWinogradPositions * count);
  for (std::int64_t i = 0; i < count; ++i) {
    std::array<float, 9> turned;
    std::reverse_copy(w.data() + 9 * i, w.data() + 9 * (i + 1), turned.begin());
    std::array<float, kWinogradPositions> u;
    winograd_filter(turned.data(), u.data());
    for (std::int64_t p = 0; p < kWinogradPositions; ++p) filters.data()[p * count + i] = u[std::size_t(p)];
  }
  return packed(kernels, filters, nullptr, s.group_out, s.channels, s.height, s.width);
}

}  // namespace

bool suits_winograd(const ConvGeometry& g, std::int64_t channels, std::int64_t out, std::int64_t height,
                    std::int64_t width) {
  return g.kernel == 3 && g.stride == 1 && g.pad == 1 && g.groups == 1 && channels >= 16 && out >= 16 &&
         tiles_of(height, width) >= kWinogradBlockTiles;
}

std::int64_t winograd_blocks(std::int64_t height, std::int64_t width) {
  return (tiles_of(height, width) + kWinogradBlockTiles - 1) / kWinogradBlockTiles;
}

WinogradTiles winograd_block(std::int64_t block, std::int64_t height, std::int64_t width,
                             std::int64_t channels) {
  const std::int64_t tiles = tiles_of(height, width), blocks = winograd_blocks(height, width);
  return {block * tiles / blocks, (block + 1) * tiles / blocks, height, width, channels};
}

void winograd_filter(const float* g, float* u) {
  double rows[4][3];
  for (int x = 0; x < 3; ++x) {
    const double sum = double(g[x]) + double(g[6 + x]), middle = double(g[3 + x]);
    rows[0][x] = double(g[x]);
    rows[1][x] = (sum + middle) / 2;
    rows[2][x] = (sum - middle) / 2;
    rows[3][x] = double(g[6 + x]);
  }
  for (int y = 0; y < 4; ++y) {
    const double sum = rows[y][0] + rows[y][2];
    u[4 * y] = float(rows[y][0]);
    u[4 * y + 1] = float((sum + rows[y][1]) / 2);
    u[4 * y + 2] = float((sum - rows[y][1]) / 2);
    u[4 * y + 3] = float(rows[y][2]);
  }
}

void winograd_filter_backward(const float* du, float* dg) {
  double rows[3][4];  // G^T du
  for (int x = 0; x < 4; ++x) {
    const double plus = double(du[4 + x]), minus = double(du[8 + x]), half = (plus + minus) / 2;
    rows[0][x] = double(du[x]) + half;
    rows[1][x] = (plus - minus) / 2;
    rows[2][x] = half + double(du[12 + x]);
  }
  for (int y = 0; y < 3; ++y) {
    const double half = (rows[y][1] + rows[y][2]) / 2;
    dg[3 * y] = float(rows[y][0] + half);
    dg[3 * y + 1] = float((rows[y][1] - rows[y][2]) / 2);
    dg[3 * y + 2] = float(half + rows[y][3]);
  }
}

WinogradConv winograd_conv(const FloatKernels& kernels, const Tensor& weight, const Tensor* bias,
                           std::int64_t height, std::int64_t width) {
  const std::int64_t out = weight.dim(0), channels = weight.dim(1), count = out * channels;
  AlignedFloats filters(kWinogradPositions * count);
  for (std::int64_t o = 0; o < out; ++o)
    for (std::int64_t c = 0; c < channels; ++c) {
      std::array<float, kWinogradPositions> u;
      winograd_filter(weight.data() + (o * channels + c) * 9, u.data());
      for (std::int64_t p = 0; p < kWinogradPositions; ++p)
        filters.data()[p * count + c * out + o] = u[std::size_t(p)];
    }
  return packed(kernels, filters, bias, channels, out, height, width);
}

std::int64_t winograd_scratch(const WinogradConv& op) {
  return kWinogradPositions * kWinogradBlockTiles * (op.channels + op.bias.size());
}

void convolve_block(const WinogradConv& op, const FloatKernels& kernels, std::int64_t block, const float* src,
                    float* dst, float* scratch) {
  const std::int64_t out = op.bias.size();
  WinogradTiles part = winograd_block(block, op.height, op.width, op.channels);
  const std::int64_t count = part.end - part.begin;
  float *windows = scratch, *products = scratch + kWinogradPositions * kWinogradBlockTiles * op.channels;
  kernels.winograd_scatter(part, src, windows);
  for (std::int64_t p = 0; p < kWinogradPositions; ++p) {
    const PackedMatrix& matrix = op.weights[std::size_t(p)];
    kernels.gemm({.src = windows + p * count * op.channels,
                  .src_stride = op.channels,
                  .segment_depth = op.channels,
                  .panels = matrix.panels.data(),
                  .panel_count = int(matrix.panels.size()),
                  .dst = products + p * count * out,
                  .dst_stride = out},
                 0, count);
  }
  part.channels = out;
  kernels.winograd_gather(part, products, op.bias.data(), op.activation, dst);
}

void winograd_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, const ConvSizes& s) {
  const FloatKernels& kernels = best_float_kernels();
  const WinogradConv op = adjoint(kernels, w, s);
  AlignedFloats map(s.area * s.group_out), result(s.area * s.channels), scratch(winograd_scratch(op));
  for (std::int64_t i = 0; i < s.batch; ++i) {
    channels_last(kernels, dy.data() + i * map.size(), s.group_out, s.area, map.data());
    for (std::int64_t block = 0; block < winograd_blocks(s.height, s.width); ++block)
      convolve_block(op, kernels, block, map.data(), result.data(), scratch.data());
    transpose_matrix(kernels, result.data(), s.channels, s.area, s.channels, dx.data() + i * result.size(),
                     s.area);
  }
}

// y = A^T (u * v) A has the gradients du = v * (A dy A^T), summed over tiles, and dg = G^T du G.
void winograd_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, const ConvSizes& s) {
  const FloatKernels& kernels = best_float_kernels();
  const std::int64_t out = s.group_out, count = out * s.channels;
  AlignedFloats map(s.area * s.channels), gradient_map(s.area * out),
      windows(kWinogradPositions * kWinogradBlockTiles * s.channels),
      gradients(kWinogradPositions * kWinogradBlockTiles * out), du(kWinogradPositions * count);
  for (std::int64_t i = 0; i < s.batch; ++i) {
    channels_last(kernels, x.data() + i * s.channels * s.area, s.channels, s.area, map.data());
    channels_last(kernels, dy.data() + i * out * s.area, out, s.area, gradient_map.data());
    for (std::int64_t block = 0; block < winograd_blocks(s.height, s.width); ++block) {
      WinogradTiles part = winograd_block(block, s.height, s.width, s.channels);
      const std::int64_t tiles = part.end - part.begin;
      kernels.winograd_scatter(part, map.data(), windows.data());
      part.channels = out;
      kernels.winograd_gather_backward(part, gradient_map.data(), gradients.data());
      for (std::int64_t p = 0; p < kWinogradPositions; ++p)
        gemm({.m = out, .n = s.channels, .k = tiles, .transpose_a = true, .accumulate = true},
             gradients.data() + p * tiles * out, windows.data() + p * tiles * s.channels,
             du.data() + p * count);
    }
  }
  for (std::int64_t i = 0; i < count; ++i) {
    std::array<float, kWinogradPositions> u;
    for (std::int64_t p = 0; p < kWinogradPositions; ++p) u[std::size_t(p)] = du.data()[p * count + i];
    winograd_filter_backward(u.data(), dw.data() + 9 * i);
  }
}

}  // namespace qhv
