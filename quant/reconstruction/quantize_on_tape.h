// Activations rounded on a tape, with steps that may be learnt (LSQ, Esser et al., arXiv 1902.08153).
//
//   y = s clip(round(x / s), low, high),  s = factor * s0, codes counted from the zero point
//
//   dy/dx = 1 inside, 0 where x is clipped (straight-through)
//   dy/ds = round(x / s) - x / s inside, low or high where x is clipped (equation 3 there)
//
// QDrop (Wei et al., arXiv 2203.05740, equation 6) leaves each element as it is with a probability, so that
// the weights do not bend to one particular noise: dy/dx = 1 there, and nothing for the step.
//
// The logarithmic and twin quantisers of baselines have no step to learn; their gradient is straight-through.
#pragma once

#include <cstdint>
#include <optional>

#include "autograd/tape.h"
#include "quant/quantizer.h"
#include "tensor/rng.h"

namespace qhv {

/// Elements that stay as they are: those whose byte, of random numbers of which each is for eight elements,
/// is below 256 times the probability, which is therefore a multiple of 1/256.
struct Drop {
  double probability = 0;
  std::uint64_t seed = 0;

  std::uint64_t threshold() const { return std::uint64_t(probability * 256 + 0.5); }
  bool keeps(std::uint64_t element) const {
    return (random_bits(seed, element / 8) >> (element % 8 * 8) & 255) < threshold();
  }
};

/// The steps of `q` times factor: one factor for all of them, or one for each.
QParams with_factors(const QParams& q, const Tensor& factors);

/// x rounded by `q`. `factors` [1] or one for each step, 1 at first; nothing: they stand still.
Var quantize_on_tape(Var x, const Quantizer& q, std::optional<Var> factors, const Drop& drop);

}  // namespace qhv
