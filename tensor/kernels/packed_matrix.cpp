#include "tensor/kernels/packed_matrix.h"

#include <algorithm>
#include <utility>

#include "tensor/check.h"

namespace qhv {

std::vector<GemmPanel> panels_of(const FloatKernels& kernels, std::int64_t columns) {
  require(columns > 0, "gemm", columns, " columns");
  const std::int64_t lanes = kernels.lanes, vectors = columns / lanes;
  if (vectors == 0) return {{.columns = int(columns)}};
  std::vector<GemmPanel> panels;
  const auto add = [&](std::int64_t start, std::int64_t width) {
    panels.push_back({.start = start, .vectors = int(width), .columns = int(width * lanes)});
  };
  const std::int64_t count = (vectors + kernels.max_vectors - 1) / kernels.max_vectors;
  std::int64_t done = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t width = vectors / count + (i < vectors % count);
    add(done * lanes, width);
    done += width;
  }
  if (columns % lanes) add(columns - lanes, 1);
  return panels;
}

std::int64_t packed_size(const FloatKernels& kernels, const std::vector<GemmPanel>& panels,
                         std::int64_t depth) {
  std::int64_t size = 0;
  for (const GemmPanel& panel : panels) size += depth * panel.vectors * kernels.lanes;
  return size;
}

namespace {

/// `bias` may be null; fill(panel, weights) writes the rows of a panel.
PackedMatrix packed(const FloatKernels& kernels, std::int64_t depth, std::int64_t columns, const float* bias,
                    const std::function<void(const GemmPanel&, float* weights)>& fill) {
  PackedMatrix matrix{depth, columns, panels_of(kernels, columns), AlignedFloats()};
  matrix.data = AlignedFloats(packed_size(kernels, matrix.panels, depth + 1));
  float* next = matrix.data.data();
  for (GemmPanel& panel : matrix.panels) {
    if (bias) std::copy_n(bias + panel.start, panel.columns, next);
    panel.bias = std::exchange(next, next + panel.vectors * kernels.lanes);
  }
  for (GemmPanel& panel : matrix.panels) {
    fill(panel, next);
    panel.weights = std::exchange(next, next + depth * panel.vectors * kernels.lanes);
  }
  return matrix;
}

}  // namespace

PackedMatrix pack_matrix(const FloatKernels& kernels, std::int64_t depth, std::int64_t columns,
                         const std::function<float(std::int64_t, std::int64_t)>& weight, const float* bias) {
  return packed(kernels, depth, columns, bias, [&](const GemmPanel& panel, float* row) {
    for (std::int64_t k = 0; k < depth; ++k, row += panel.vectors * kernels.lanes)
      for (int c = 0; c < panel.columns; ++c) row[c] = weight(k, panel.start + c);
  });
}

PackedMatrix pack_matrix(const FloatKernels& kernels, std::int64_t depth, std::int64_t columns,
                         const float* src) {
  return packed(kernels, depth, columns, nullptr, [&](const GemmPanel& panel, float* weights) {
    kernels.pack(src + panel.start, columns, depth, panel.columns, panel.columns, weights);
  });
}

}  // namespace qhv
