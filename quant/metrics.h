// How far a quantised signal is from the original.
#pragma once

#include "tensor/tensor.h"

namespace qhv {

/// Signal-to-quantisation-noise ratio, gathered tensor by tensor: 10 log10( sum x^2 / sum (x - x^)^2 ) in dB.
struct Sqnr {
  double signal = 0, noise = 0;

  void add(const Tensor& reference, const Tensor& approximation);
  void add(const Sqnr& other) {
    signal += other.signal;
    noise += other.noise;
  }
  /// +infinity without noise; 0 if there is neither signal nor noise.
  double db() const;
};

}  // namespace qhv
