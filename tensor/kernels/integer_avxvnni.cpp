// Compiled for CPUs with AVX-VNNI, the same kernels as integer_vnni256.cpp in the encoding without AVX512.
#include <cpuid.h>
#include <cstring>
#include <immintrin.h>

#include "tensor/kernels/integer_kernels.h"

namespace qhv {
namespace {

#include "tensor/kernels/vnni256_gemm.h"

/// Not every supported compiler's __builtin_cpu_supports knows it: leaf 7, subleaf 1, bit 4 of EAX.
bool has_avx_vnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
}

}  // namespace

extern const IntegerKernels kIntegerKernelsAvxVnni = table_of_quads("avxvnni", has_avx_vnni);

}  // namespace qhv
