// The values that a planned weight may have, element by element: code * step, whole codes from lowest to
// highest. With equalization the codes are those of w a (equalize.h), so that the step of input channel c is
// s / a_c.
#pragma once

#include <span>

#include "quant/qparams.h"

namespace qhv {

struct WeightGrid {
  Tensor step, lowest, highest;  // of the weight's shape; codes are counted from the zero point
};

WeightGrid weight_grid(const Shape& shape, const QParams& q, std::span<const float> equalization);

/// The same grid with each element kept to the two codes next to `weight`.
WeightGrid next_to(const WeightGrid& grid, const Tensor& weight);

}  // namespace qhv
