// The kernels of kernels.h in vectors of kLanes floats, in the vector extension of GCC and Clang. Included
// once by the file of each instruction set, which defines, in an anonymous namespace before it: kLanes,
// kMaxVectors, and kTileRows, the rows of a product's tile by its width in vectors, such that the sums fit
// the registers.
//
// Its parts: simd_vector.h, simd_gemm.h, simd_depthwise.h, simd_winograd.h, simd_planes.h, simd_rows.h.
//
// Nothing here may call templates or inline functions of other headers: the linker would keep one copy of
// them for all, and it might be one that this CPU cannot execute.
#pragma once

#include "tensor/kernels/simd_depthwise.h"
#include "tensor/kernels/simd_gemm.h"
#include "tensor/kernels/simd_planes.h"
#include "tensor/kernels/simd_rows.h"
#include "tensor/kernels/simd_winograd.h"

constexpr FloatKernels table_of(const char* name, bool (*is_supported)()) {
  FloatKernels table{.name = name,
                     .lanes = kLanes,
                     .max_vectors = kMaxVectors,
                     .tile_rows = {},
                     .is_supported = is_supported,
                     .gemm = gemm,
                     .depthwise = depthwise,
                     .winograd_scatter = winograd_scatter,
                     .winograd_gather = winograd_gather,
                     .winograd_gather_backward = winograd_gather_backward,
                     .silu = silu,
                     .silu_backward = silu_backward,
                     .add = add,
                     .sum = sum,
                     .sum_of_squares = sum_of_squares,
                     .scale_shift = scale_shift,
                     .layer_norm = layer_norm,
                     .softmax_columns = softmax_columns,
                     .softmax_rows = softmax_rows,
                     .softmax_backward = softmax_backward,
                     .gradient_sums = gradient_sums,
                     .copy_rows = copy_rows,
                     .add_rows = add_rows,
                     .weigh_taps = weigh_taps,
                     .add_products = add_products,
                     .transpose = transpose,
                     .scatter_columns = scatter_columns,
                     .pack = pack,
                     .interleave3 = interleave3,
                     .weighted_sum = weighted_sum,
                     .gate = gate,
                     .multiply_adds = multiply_adds};
  for (int v = 1; v <= kMaxVectors; ++v) table.tile_rows[v] = kTileRows[v];
  return table;
}
