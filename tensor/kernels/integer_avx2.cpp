// Compiled for CPUs with AVX2; see integer_rows.h for what each kernel computes.
#include <cstring>
#include <immintrin.h>

#include "tensor/kernels/integer_kernels.h"

namespace qhv {
namespace {

#include "tensor/kernels/avx2_gemm.h"
#include "tensor/kernels/avx2_rows.h"

}  // namespace

extern const IntegerKernels kIntegerKernelsAvx2 = table_of_rows(
    "avx2", [] { return __builtin_cpu_supports("avx2") > 0; }, gemm);

}  // namespace qhv
