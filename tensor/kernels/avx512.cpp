// Compiled for CPUs with AVX-512 F, BW, DQ and VL; see simd.h.
#include <immintrin.h>
#include <utility>

#include "tensor/kernels/kernels.h"

namespace qhv {
namespace {

constexpr int kLanes = 16, kMaxVectors = 4;
constexpr int kTileRows[] = {0, 12, 12, 8, 6};

#include "tensor/kernels/simd.h"

}  // namespace

extern const FloatKernels kFloatKernelsAvx512 = table_of("avx512", [] {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
});

}  // namespace qhv
