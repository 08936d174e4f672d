// Compiled for CPUs with AVX512-VNNI but not AVX512-VBMI: vectors of 256 bits.
#include <cstring>
#include <immintrin.h>

#include "tensor/kernels/integer_kernels.h"

namespace qhv {
namespace {

#include "tensor/kernels/vnni256_gemm.h"

}  // namespace

extern const IntegerKernels kIntegerKernelsVnni256 = table_of_quads(
    "vnni256", [] { return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl"); });

}  // namespace qhv
