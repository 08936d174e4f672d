// AdaRound's variables of one weight (Nagel et al., arXiv 2004.10568, section 3.2): each element lies between
// the two codes next to it and moves from one to the other.
//
//   w^ = s clip(floor(w / s) + h(v), qmin, qmax),   h(v) = clip(1.2 sigmoid(v) - 0.1, 0, 1)
//
// v begins where h is the fraction of w / s, so that w^ = w; the regulariser sum(1 - |2 h - 1|^beta) drives h
// to 0 or 1, and at the end each element takes the nearer one. With equalization the codes are those of w a
// (equalize.h).
#pragma once

#include <span>

#include "quant/qparams.h"

namespace qhv {

class SoftRounding {
 public:
  /// `weight` is the float one.
  SoftRounding(const Tensor& weight, const QParams& q, std::span<const float> equalization);

  const Tensor& variables() const { return v_; }
  void set_variables(Tensor v);

  /// w^ for the variables as they are, and with each h rounded.
  Tensor weight() const;
  Tensor rounded_weight() const;

  /// From the gradient at w^ to that at the variables.
  Tensor gradient(Tensor dweight) const;

  /// The mean over all free elements of 1 - |2 h - 1|^beta, times `factor`; its gradient is added.
  double regularize(double beta, double factor, Tensor& gradient) const;

  /// Elements between two codes, and those of them that do not go to the nearer one.
  std::int64_t free() const { return free_; }
  std::int64_t flipped() const;

 private:
  Tensor low_;   // the value of the lower code
  Tensor step_;  // to the upper one; 0 where both are the same, at an end of the codes
  Tensor fraction_;
  Tensor v_, h_, slope_;  // slope: dh / dv
  std::int64_t free_ = 0;
};

}  // namespace qhv
