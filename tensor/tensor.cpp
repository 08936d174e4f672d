#include "tensor/tensor.h"

const char qhv::precision_tag = 0;

namespace qhv {

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (std::size_t i = 0; i < shape.size(); ++i) out << (i ? ", " : "") << shape[i];
  return out << ']';
}

std::int64_t inner_count(const Shape& shape, int axis) {
  std::int64_t count = 1;
  for (std::size_t i = std::size_t(axis + 1); i < shape.size(); ++i) count *= shape[i];
  return count;
}

std::int64_t element_count(const Shape& shape) {
  constexpr std::int64_t kLimit = std::int64_t{1} << 62;
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    require(extent >= 0, "tensor", "negative extent in shape ", shape);
    require(extent == 0 || count <= kLimit / extent, "tensor", "shape ", shape, " is too large");
    count *= extent;
  }
  return count;
}

}  // namespace qhv
