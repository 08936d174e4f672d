#include "tensor/winograd.h"

#include <algorithm>
#include <array>
#include <numbers>

#include "tensor/gemm_packed.h"
#include "tensor/kernels/aligned.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

constexpr std::int64_t kLeastTiles = 4;
constexpr std::int64_t kBlockTiles = 32;  // whose windows and products fit second-level caches

std::int64_t tiles_of(std::int64_t height, std::int64_t width) {
  return (height + 3) / 4 * ((width + 3) / 4);
}

/// The tiles of so many maps, in blocks of at most kBlockTiles and of about the same size.
struct Blocks {
  std::int64_t tiles, count, height, width;

  Blocks(std::int64_t maps, std::int64_t height, std::int64_t width)
      : tiles(maps * tiles_of(height, width)),
        count((tiles + kBlockTiles - 1) / kBlockTiles),
        height(height),
        width(width) {}
  std::int64_t largest() const { return std::min(tiles, kBlockTiles); }
  WinogradTiles operator[](std::int64_t i) const {
    return {i * tiles / count, (i + 1) * tiles / count, height, width};
  }
};

/// Maps [maps, channels, area] with their channels last.
AlignedFloats channels_last(const FloatKernels& kernels, const Tensor& x) {
  const std::int64_t channels = x.dim(1), area = x.dim(2) * x.dim(3);
  AlignedFloats maps(x.size());
  for (std::int64_t i = 0; i < x.dim(0); ++i)
    transpose_matrix(kernels, x.data() + i * channels * area, area, channels, area,
                     maps.data() + i * channels * area, channels);
  return maps;
}

// G: 1, p, p^2 over the product of the differences of p to the other points; and 0, 0, 1.
constexpr double kRoot = std::numbers::sqrt2;
constexpr double kFilterTransform[6][3] = {{1, 0, 0},
                                           {-2.0 / 3, -kRoot / 3, -1.0 / 3},
                                           {-2.0 / 3, kRoot / 3, -1.0 / 3},
                                           {1.0 / 6, kRoot / 6, 1.0 / 3},
                                           {1.0 / 6, -kRoot / 6, 1.0 / 3},
                                           {0, 0, 1}};

constexpr std::int64_t kFilterBlock = 32;  // filters transformed side by side, in vectors
using FilterBlock = std::array<double, kFilterBlock>;

void add_multiple(double factor, const FilterBlock& src, FilterBlock& sum) {
  for (std::size_t i = 0; i < src.size(); ++i) sum[i] += factor * src[i];
}

/// `taps` [9, channels, out]; `bias` [out] or null.
WinogradConv packed(const FloatKernels& kernels, const AlignedFloats& taps, const Tensor* bias,
                    std::int64_t channels, std::int64_t out, std::int64_t height, std::int64_t width) {
  const std::int64_t count = channels * out;
  WinogradConv op{{}, AlignedFloats(out), channels, height, width};
  if (bias) std::copy_n(bias->data(), out, op.bias.data());
  AlignedFloats matrices(6 * count);
  for (int p = 0; p < kWinogradPositions; ++p) {
    if (p % 6 == 0) winograd_filters(taps.data(), count, p / 6, matrices.data());
    op.weights.push_back(pack_matrix(kernels, channels, out, matrices.data() + p % 6 * count));
  }
  return op;
}

/// The convolution of dy with filters w [out, channels, 3, 3] turned by half a turn.
WinogradConv adjoint(const FloatKernels& kernels, const Tensor& w, const ConvSizes& s) {
  AlignedFloats turned(w.size());
  const std::int64_t count = w.size() / 9;
  for (std::int64_t t = 0; t < 9; ++t)
    for (std::int64_t i = 0; i < count; ++i) turned.data()[t * count + i] = w[9 * i + 8 - t];
  return packed(kernels, turned, nullptr, s.group_out, s.channels, s.height, s.width);
}

}  // namespace

bool suits_winograd(const ConvGeometry& g, std::int64_t channels, std::int64_t out, std::int64_t height,
                    std::int64_t width) {
  return g.kernel == 3 && g.stride == 1 && g.pad == 1 && g.groups == 1 && channels >= 16 && out >= 16 &&
         tiles_of(height, width) >= kLeastTiles;
}

QHV_VECTORIZE void winograd_filters(const float* taps, std::int64_t count, int line, float* u) {
  for (std::int64_t first = 0; first < count; first += kFilterBlock) {
    const std::int64_t filters = std::min(kFilterBlock, count - first);
    FilterBlock row[3] = {};  // of G g
    for (int t = 0; t < 9; ++t) {
      FilterBlock tap = {};
      std::copy_n(taps + t * count + first, filters, tap.begin());
      add_multiple(kFilterTransform[line][t / 3], tap, row[t % 3]);
    }
    for (int x = 0; x < 6; ++x) {
      FilterBlock sum = {};
      for (int k = 0; k < 3; ++k) add_multiple(kFilterTransform[x][k], row[k], sum);
      std::copy_n(sum.begin(), filters, u + x * count + first);
    }
  }
}

QHV_VECTORIZE void winograd_filters_backward(const float* du, std::int64_t count, float* dg) {
  for (std::int64_t first = 0; first < count; first += kFilterBlock) {
    const std::int64_t filters = std::min(kFilterBlock, count - first);
    FilterBlock rows[6][3] = {}, taps[9] = {};  // du G, G^T du G
    for (int p = 0; p < kWinogradPositions; ++p) {
      FilterBlock position = {};
      std::copy_n(du + p * count + first, filters, position.begin());
      for (int x = 0; x < 3; ++x) add_multiple(kFilterTransform[p % 6][x], position, rows[p / 6][x]);
    }
    for (int t = 0; t < 9; ++t)
      for (int k = 0; k < 6; ++k) add_multiple(kFilterTransform[k][t / 3], rows[k][t % 3], taps[t]);
    for (std::int64_t i = 0; i < filters; ++i)
      for (int t = 0; t < 9; ++t) dg[9 * (first + i) + t] = float(taps[t][std::size_t(i)]);
  }
}

WinogradConv winograd_conv(const FloatKernels& kernels, const Tensor& weight, const Tensor* bias,
                           std::int64_t height, std::int64_t width) {
  const std::int64_t out = weight.dim(0), channels = weight.dim(1);
  AlignedFloats taps(weight.size());
  for (std::int64_t o = 0; o < out; ++o)
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t t = 0; t < 9; ++t)
        taps.data()[(t * channels + c) * out + o] = weight[(o * channels + c) * 9 + t];
  return packed(kernels, taps, bias, channels, out, height, width);
}

std::int64_t winograd_scratch(const WinogradConv& op, std::int64_t maps) {
  return kWinogradPositions * Blocks(maps, op.height, op.width).largest() * (op.channels + op.bias.size());
}

void convolve(const WinogradConv& op, const FloatKernels& kernels, ThreadPool& pool, std::int64_t maps,
              const float* src, float* dst, float* scratch) {
  const std::int64_t out = op.bias.size();
  const Blocks blocks(maps, op.height, op.width);
  for (std::int64_t b = 0; b < blocks.count; ++b) {
    const WinogradTiles block = blocks[b];
    const std::int64_t tiles = block.end - block.begin,
                       pieces = std::min<std::int64_t>(tiles, 4 * pool.threads());
    float *windows = scratch, *products = scratch + kWinogradPositions * tiles * op.channels;
    const auto piece = [&](std::int64_t i, std::int64_t channels) {
      WinogradTiles part = block;
      part.begin = block.begin + i * tiles / pieces;
      part.end = block.begin + (i + 1) * tiles / pieces;
      part.channels = channels;
      part.plane = tiles * channels;
      return part;
    };
    pool.run(pieces, [&](std::int64_t i, int) {
      const WinogradTiles part = piece(i, op.channels);
      kernels.winograd_scatter(part, src, windows + (part.begin - block.begin) * op.channels);
    });
    pool.run(kWinogradPositions, [&](std::int64_t p, int) {
      const PackedMatrix& matrix = op.weights[std::size_t(p)];
      kernels.gemm({.src = windows + p * tiles * op.channels,
                    .src_stride = op.channels,
                    .segment_depth = op.channels,
                    .panels = matrix.panels.data(),
                    .panel_count = int(matrix.panels.size()),
                    .dst = products + p * tiles * out,
                    .dst_stride = out},
                   0, tiles);
    });
    pool.run(pieces, [&](std::int64_t i, int) {
      const WinogradTiles part = piece(i, out);
      kernels.winograd_gather(part, products + (part.begin - block.begin) * out, op.bias.data(),
                              op.activation, dst);
    });
  }
}

void winograd_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, const ConvSizes& s) {
  const FloatKernels& kernels = best_float_kernels();
  const WinogradConv op = adjoint(kernels, w, s);
  const AlignedFloats maps = channels_last(kernels, dy);
  AlignedFloats result(dx.size()), scratch(winograd_scratch(op, s.batch));
  ThreadPool alone(1);
  convolve(op, kernels, alone, s.batch, maps.data(), result.data(), scratch.data());
  for (std::int64_t i = 0; i < s.batch; ++i)
    transpose_matrix(kernels, result.data() + i * s.channels * s.area, s.channels, s.area, s.channels,
                     dx.data() + i * s.channels * s.area, s.area);
}

// y = A^T (u * v) A has the gradients du = v * (A dy A^T), summed over tiles, and dg = G^T du G.
void winograd_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, const ConvSizes& s) {
  const FloatKernels& kernels = best_float_kernels();
  const std::int64_t out = s.group_out, count = out * s.channels;
  const Blocks blocks(s.batch, s.height, s.width);
  const AlignedFloats maps = channels_last(kernels, x), gradient_maps = channels_last(kernels, dy);
  AlignedFloats windows(kWinogradPositions * blocks.largest() * s.channels),
      gradients(kWinogradPositions * blocks.largest() * out), du(kWinogradPositions * count);
  for (std::int64_t b = 0; b < blocks.count; ++b) {
    WinogradTiles block = blocks[b];
    const std::int64_t tiles = block.end - block.begin;
    block.channels = s.channels;
    block.plane = tiles * s.channels;
    kernels.winograd_scatter(block, maps.data(), windows.data());
    block.channels = out;
    block.plane = tiles * out;
    kernels.winograd_gather_backward(block, gradient_maps.data(), gradients.data());
    for (std::int64_t p = 0; p < kWinogradPositions; ++p)
      gemm({.m = out, .n = s.channels, .k = tiles, .transpose_a = true, .accumulate = true},
           gradients.data() + p * tiles * out, windows.data() + p * tiles * s.channels,
           du.data() + p * count);
  }
  winograd_filters_backward(du.data(), count, dw.data());
}

}  // namespace qhv
