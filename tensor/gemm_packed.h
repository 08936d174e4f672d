// The matrix product of gemm.h by the kernels of kernels/kernels.h, which take one operand in rows and the
// other one in packed panels. Float only.
#pragma once

#include "tensor/gemm.h"
#include "tensor/kernels/kernels.h"

namespace qhv {

/// As gemm_packed(shape, a, b, c), by the kernels given. An element of C has the same bits whatever m and n
/// are: it is one chain of multiply-adds for each stretch of k, and these are added to C in turn.
void gemm_packed(const FloatKernels& kernels, const GemmShape& shape, const float* a, const float* b,
                 float* c);

/// dst[c * dst_stride + r] = src[r * src_stride + c]
void transpose_matrix(const FloatKernels& kernels, const float* src, std::int64_t src_stride,
                      std::int64_t rows, std::int64_t columns, float* dst, std::int64_t dst_stride);

}  // namespace qhv
