// What the machine can do at best, by measurement: what the times of a network are compared with.
#pragma once

#include "tensor/kernels/kernels.h"

namespace qhv {

struct Peaks {
  double gmacs = 0;       // float multiply-accumulates, 10^9 a second
  double int8_gmacs = 0;  // 8-bit ones by AVX512-VNNI; 0 on a CPU without it
  double gbytes = 0;      // copied from memory to memory, read and written bytes counted, 10^9 a second
};

/// With so many threads at work, in about half a second.
Peaks measure_peaks(const FloatKernels& kernels, int threads);

/// 8-bit multiply-accumulates of one round of int8_multiply_adds.
inline constexpr double kInt8MacsOfRound = 16 * 64;
bool has_avx512_vnni();
/// Independent chains of vpdpbusd, of which the result only keeps the compiler from leaving them out.
std::int32_t int8_multiply_adds(std::int64_t rounds);

}  // namespace qhv
