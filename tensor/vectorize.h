// For functions that hold a hot loop of plain C++.
//
// QHV_VECTORIZE compiles the function for several instruction sets and picks the best one when the program is loaded. The
// bits do not depend on which: a vector does the same operations as the scalar loop, because contraction is off and no
// floating-point sum is reordered. Where the compiler cannot do this the function is compiled once.
//
// sum() is such a sum: in double, over eight interleaved lanes that are joined in a fixed order.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define QHV_VECTORIZE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define QHV_VECTORIZE
#endif

namespace qhv {

/// Sum of term(i) for i = 0 .. count-1.
template <typename Term>
inline double sum(std::int64_t count, Term term) {
  constexpr std::int64_t kLanes = 8;
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  for (std::int64_t lane = 0; i < count; ++i, ++lane) lanes[lane] += term(i);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

}  // namespace qhv
