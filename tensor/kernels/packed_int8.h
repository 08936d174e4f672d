// Signed bytes in the order in which the integer gemm (integer_kernels.h) reads them: panels of 16 columns,
// each [quads][16][4], four consecutive k of a column side by side. All tables read the same order.
#pragma once

#include <cstdint>
#include <functional>

#include "tensor/kernels/aligned.h"

namespace qhv {

struct PackedInt8 {
  std::int64_t columns = 0, panels = 0;
  std::int64_t segments = 1, segment_quads = 0;
  Aligned<std::int8_t> data;
};

/// The matrix weight(k, column) with k below `depth`, in `segments` segments of equal size, each filled up
/// with zeros to a multiple of 4.
PackedInt8 pack_int8(std::int64_t depth, std::int64_t columns, std::int64_t segments,
                     const std::function<std::int8_t(std::int64_t k, std::int64_t column)>& weight);

}  // namespace qhv
