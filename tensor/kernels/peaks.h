// What the machine can do at best, by measurement: what the times of a network are compared with.
#pragma once

#include "tensor/kernels/integer_kernels.h"
#include "tensor/kernels/kernels.h"

namespace qhv {

struct Peaks {
  double gmacs = 0;       // float multiply-accumulates, 10^9 a second
  double int8_gmacs = 0;  // 8-bit ones; 0 if the integer kernels have no instruction for them
  double gbytes = 0;      // copied from memory to memory, read and written bytes counted, 10^9 a second
};

/// With so many threads at work, in about half a second.
Peaks measure_peaks(const FloatKernels& floats, const IntegerKernels& integers, int threads);

}  // namespace qhv
