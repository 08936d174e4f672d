// The kernels of kernels.h in vectors of kLanes floats, in the vector extension of GCC and Clang. Included
// once by the file of each instruction set, which defines, in an anonymous namespace before it: kLanes,
// kMaxVectors, and kTileRows, the rows of a product's tile by its width in vectors, such that the sums fit
// the registers.
//
// Its parts: simd_vector.h, simd_gemm.h, simd_depthwise.h, simd_rows.h.
//
// Nothing here may call templates or inline functions of other headers: the linker would keep one copy of
// them for all, and it might be one that this CPU cannot execute.
#pragma once

#include "tensor/kernels/simd_depthwise.h"
#include "tensor/kernels/simd_gemm.h"
#include "tensor/kernels/simd_rows.h"

constexpr FloatKernels table_of(const char* name, bool (*is_supported)()) {
  return {name,      kLanes,       kMaxVectors,    is_supported, gemm,       depthwise, silu,
          add,       sum,          sum_of_squares, scale_shift,  layer_norm, softmax,   softmax_columns,
          transpose, weighted_sum, gate,           multiply_adds};
}
