#include "nn/executor/winograd.h"

#include <algorithm>

namespace qhv {
namespace {

constexpr std::int64_t kPositions = 16;   // of a window of 4x4
constexpr std::int64_t kBlockTiles = 48;  // whose windows and products stay in the second-level cache

std::int64_t tiles_of(std::int64_t height, std::int64_t width) {
  return (height + 1) / 2 * ((width + 1) / 2);
}

/// G g G^T of a filter [3, 3], G being [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1].
void transform_filter(const real* g, float* u) {
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

}  // namespace

bool suits_winograd(const Conv2d& op, std::int64_t height, std::int64_t width) {
  const ConvGeometry& g = op.geometry;
  return g.kernel == 3 && g.stride == 1 && g.pad == 1 && g.groups == 1 && op.in >= 16 && op.out >= 16 &&
         tiles_of(height, width) >= kBlockTiles;
}

WinogradConv winograd_step(const FloatKernels& kernels, const Tensor& weight, const Tensor* bias,
                           std::int64_t height, std::int64_t width) {
  const std::int64_t out = weight.dim(0), channels = weight.dim(1);
  WinogradConv step{{}, AlignedFloats(out), channels, height, width};
  if (bias) std::copy_n(bias->data(), out, step.bias.data());
  std::vector<float> filters(std::size_t(out * channels * kPositions));
  for (std::int64_t i = 0; i < out * channels; ++i)
    transform_filter(weight.data() + i * 9, filters.data() + i * kPositions);
  for (std::int64_t p = 0; p < kPositions; ++p)
    step.weights.push_back(pack_matrix(
        kernels, channels, out,
        [&](std::int64_t c, std::int64_t o) {
          return filters[std::size_t((o * channels + c) * kPositions + p)];
        },
        nullptr));
  return step;
}

std::int64_t winograd_scratch(const WinogradConv& op) {
  return kPositions * kBlockTiles * (op.channels + op.bias.size());
}

std::int64_t winograd_blocks(const WinogradConv& op) {
  return (tiles_of(op.height, op.width) + kBlockTiles - 1) / kBlockTiles;
}

void winograd_block(const WinogradConv& op, const FloatKernels& kernels, std::int64_t block, const float* src,
                    float* dst, float* scratch) {
  const std::int64_t tiles = tiles_of(op.height, op.width), blocks = winograd_blocks(op),
                     out = op.bias.size();
  WinogradTiles part{block * tiles / blocks, (block + 1) * tiles / blocks, op.height, op.width, op.channels};
  const std::int64_t count = part.end - part.begin;
  float *windows = scratch, *products = scratch + kPositions * kBlockTiles * op.channels;
  kernels.winograd_scatter(part, src, windows);
  for (std::int64_t p = 0; p < kPositions; ++p) {
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

}  // namespace qhv
