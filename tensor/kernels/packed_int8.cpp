#include "tensor/kernels/packed_int8.h"

#include <algorithm>
#include <cstring>

#include "tensor/check.h"
#include "tensor/kernels/integer_kernels.h"

namespace qhv {

PackedInt8 pack_int8(std::span<const std::int8_t> weights, std::int64_t columns, std::int64_t segments) {
  const auto count = std::int64_t(weights.size());
  require(columns > 0 && segments > 0 && count > 0 && count % (columns * segments) == 0, "pack_int8", count,
          " weights in ", columns, " columns of ", segments, " segments");
  const std::int64_t size = count / columns / segments, quads = (size + kQuad - 1) / kQuad;
  PackedInt8 packed{columns, (columns + kPanelColumns - 1) / kPanelColumns, segments, quads, {}};
  packed.data = Aligned<std::int8_t>(packed.panels * segments * quads * kPanelColumns * kQuad + kPackedSlack);
  const std::int8_t* src = weights.data();
  for (std::int64_t column = 0; column < columns; ++column)
    for (std::int64_t s = 0; s < segments; ++s, src += size) {
      std::int8_t* dst =
          packed.data.data() +
          ((column / kPanelColumns * segments + s) * quads * kPanelColumns + column % kPanelColumns) * kQuad;
      std::int64_t k = 0;
      for (; k + kQuad <= size; k += kQuad, dst += kPanelColumns * kQuad) std::memcpy(dst, src + k, kQuad);
      std::copy_n(src + k, size - k, dst);
    }
  return packed;
}

}  // namespace qhv
