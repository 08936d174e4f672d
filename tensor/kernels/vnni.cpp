// Compiled for CPUs with AVX512-VNNI.
#include <immintrin.h>

#include "tensor/kernels/peaks.h"

namespace qhv {

bool has_avx512_vnni() { return __builtin_cpu_supports("avx512vnni"); }

std::int32_t int8_multiply_adds(std::int64_t rounds) {
  constexpr int kChains = 16;
  __m512i chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = _mm512_set1_epi32(i);
  const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(-1);
  for (std::int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) chains[i] = _mm512_dpbusd_epi32(chains[i], a, b);
  std::int32_t lanes[16], sum = 0;
  for (int i = 0; i < kChains; ++i) {
    _mm512_storeu_si512(lanes, chains[i]);
    for (const std::int32_t lane : lanes) sum += lane;
  }
  return sum;
}

}  // namespace qhv
