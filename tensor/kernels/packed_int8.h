// Signed bytes in the order in which the integer gemm (integer_kernels.h) reads them: panels of 16 columns,
// each [quads][16][4], four consecutive k of a column side by side. All tables read the same order.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/kernels/aligned.h"

namespace qhv {

struct PackedInt8 {
  std::int64_t columns = 0, panels = 0;
  std::int64_t segments = 1, segment_quads = 0;
  Aligned<std::int8_t> data;  // and kPackedSlack bytes behind it
};

/// The matrix whose column n is weights[n * depth ..], in `segments` segments of equal size, each filled up
/// with zeros to a multiple of 4.
PackedInt8 pack_int8(std::span<const std::int8_t> weights, std::int64_t columns, std::int64_t segments);

}  // namespace qhv
