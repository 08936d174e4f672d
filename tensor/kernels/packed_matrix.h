// Matrices in the order in which the gemm of kernels.h reads them: panels of a few vectors of columns, each
// panel row by row. Panels cover all columns; the last one may begin before the end of the one before it, so
// that no vector is partly empty. Columns in both are computed twice, to the same value.
#pragma once

#include <functional>
#include <vector>

#include "tensor/kernels/aligned.h"
#include "tensor/kernels/kernels.h"

namespace qhv {

/// The panels of a matrix with so many columns, as yet without data.
std::vector<GemmPanel> panels_of(const FloatKernels& kernels, std::int64_t columns);

/// Floats that the panels' weights take.
std::int64_t packed_size(const FloatKernels& kernels, const std::vector<GemmPanel>& panels,
                         std::int64_t depth);

/// A matrix [depth, columns] with a bias.
struct PackedMatrix {
  std::int64_t depth = 0, columns = 0;
  std::vector<GemmPanel> panels;
  AlignedFloats data;  // the panels' biases, then their weights
};

/// `bias` may be null.
PackedMatrix pack_matrix(const FloatKernels& kernels, std::int64_t depth, std::int64_t columns,
                         const std::function<float(std::int64_t k, std::int64_t column)>& weight,
                         const float* bias);

/// The matrix that lies at src, row by row; without a bias.
PackedMatrix pack_matrix(const FloatKernels& kernels, std::int64_t depth, std::int64_t columns,
                         const float* src);

}  // namespace qhv
