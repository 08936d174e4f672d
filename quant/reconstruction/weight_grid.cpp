#include "quant/reconstruction/weight_grid.h"

#include <algorithm>
#include <cmath>

#include "quant/equalize.h"

namespace qhv {

WeightGrid weight_grid(const Shape& shape, const QParams& q, std::span<const float> equalization) {
  require(q.axis <= 0, "weight grid", "a weight with scales along axis ", q.axis);
  WeightGrid grid{Tensor(shape), Tensor(shape), Tensor(shape)};
  const std::int64_t inner = element_count(shape) / shape[0];
  for (std::int64_t i = 0; i < grid.step.size(); ++i) {
    const std::size_t g = q.axis < 0 ? 0 : std::size_t(i / inner / q.group);
    grid.step[i] = real(q.scale[g]);
    grid.lowest[i] = real(q.qmin - q.zero_point[g]);
    grid.highest[i] = real(q.qmax - q.zero_point[g]);
  }
  grid.step = divide_channels(grid.step, equalization);
  return grid;
}

WeightGrid next_to(const WeightGrid& grid, const Tensor& weight) {
  WeightGrid result = grid;
  for (std::int64_t i = 0; i < weight.size(); ++i) {
    const real below = std::floor(weight[i] / grid.step[i]);
    result.lowest[i] = std::clamp(below, grid.lowest[i], grid.highest[i]);
    result.highest[i] = std::clamp(below + 1, grid.lowest[i], grid.highest[i]);
  }
  return result;
}

}  // namespace qhv
