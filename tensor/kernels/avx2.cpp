// Compiled for CPUs with AVX2 and FMA; see simd.h.
#include <immintrin.h>
#include <utility>

#include "tensor/kernels/kernels.h"

namespace qhv {
namespace {

constexpr int kLanes = 8, kMaxVectors = 3;
constexpr int kTileRows[] = {0, 8, 6, 4};

#include "tensor/kernels/simd.h"

}  // namespace

extern const FloatKernels kFloatKernelsAvx2 =
    table_of("avx2", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); });

}  // namespace qhv
