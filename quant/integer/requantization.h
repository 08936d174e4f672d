// Multiplication by a real number, in integers: what turns sums of products into codes.
//
//   code = clip(round((sum - center) * factor + addend), lo, hi)        by column
//
// With m = round(factor * 2^shift) and shift the same for all columns this is
//
//   code = clip((sum * m + offset) >> shift, lo, hi),   offset = round(addend * 2^shift) - center * m +
//   2^(shift-1)
//
// in 64 bits, where >> rounds down: to the nearest integer, ties up. The bias and both zero points are in the
// offset, so neither is rounded to a grid of its own and no bias can overflow 32 bits (Jacob et al., arXiv
// 1712.05877, equations 5 to 7, keep them in 32-bit integers of scale s_a s_w; a channel whose weights are
// nearly zero breaks that). The error before rounding is at most (|sum - center| + 1) * 2^-(shift+1) of a
// code.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/kernels/integer_kernels.h"

namespace qhv {

struct Requantization {
  std::vector<std::int32_t> multiplier;
  std::vector<std::int64_t> offset;
  std::vector<std::int32_t> lo, hi;
  int shift = 1;

  /// From column `first` on.
  RequantizeTask task(std::int64_t first = 0) const {
    return {multiplier.data() + first, offset.data() + first, lo.data() + first, hi.data() + first, shift};
  }
};

/// A column: sums of up to `largest` in magnitude, the number that they become. `factor` may be negative.
struct Rescale {
  double factor = 1, addend = 0;
  std::int64_t center = 0;
  double largest = 0;
  std::int32_t lo = 0, hi = 255;
};

/// Throws std::invalid_argument, naming `where`, for numbers that are not finite, and for results that would
/// not fit 32 bits behind the shift.
Requantization requantization(std::span<const Rescale> columns, const std::string& where);

/// Of the 16-bit codes of an addition's other operand: (code - center) * factor is added.
struct Addend {
  double factor = 1;
  std::int64_t center = 0;
};

/// The same with an addend in each column, whose multipliers go to `addend_multiplier`.
Requantization requantization_of_sum(std::span<const Rescale> columns, std::span<const Addend> addends,
                                     std::vector<std::int32_t>& addend_multiplier, const std::string& where);

}  // namespace qhv
