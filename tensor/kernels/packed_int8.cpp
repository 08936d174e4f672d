#include "tensor/kernels/packed_int8.h"

#include "tensor/check.h"
#include "tensor/kernels/integer_kernels.h"

namespace qhv {

PackedInt8 pack_int8(std::int64_t depth, std::int64_t columns, std::int64_t segments,
                     const std::function<std::int8_t(std::int64_t, std::int64_t)>& weight) {
  require(depth > 0 && columns > 0 && segments > 0 && depth % segments == 0, "pack_int8", depth, " by ",
          columns, " in ", segments, " segments");
  const std::int64_t size = depth / segments, quads = (size + kQuad - 1) / kQuad;
  PackedInt8 packed{columns, (columns + kPanelColumns - 1) / kPanelColumns, segments, quads, {}};
  packed.data = Aligned<std::int8_t>(packed.panels * segments * quads * kPanelColumns * kQuad);
  for (std::int64_t column = 0; column < columns; ++column) {
    std::int8_t* panel =
        packed.data.data() + column / kPanelColumns * segments * quads * kPanelColumns * kQuad;
    for (std::int64_t k = 0; k < depth; ++k) {
      const std::int64_t quad = k / size * quads + k % size / kQuad;
      panel[(quad * kPanelColumns + column % kPanelColumns) * kQuad + k % size % kQuad] = weight(k, column);
    }
  }
  return packed;
}

}  // namespace qhv
