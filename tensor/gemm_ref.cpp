// The definition of the matrix product. One row of C at a time is summed in double, in order of k, so every
// element's rounding is that of one double sum. Columns go in strips that stay in the first-level cache.
#include <algorithm>
#include <array>
#include <vector>

#include "tensor/gemm.h"

namespace qhv {

void gemm_ref(const GemmShape& s, const real* a, const real* b, real* c) {
  if (s.transpose_b) {  // the inner loop below runs along a row of B: bring B into that order first
    std::vector<real> rows(std::size_t(s.k * s.n));
    for (std::int64_t j = 0; j < s.n; ++j)
      for (std::int64_t p = 0; p < s.k; ++p) rows[std::size_t(p * s.n + j)] = b[j * s.b_stride + p];
    GemmShape plain = s;
    plain.transpose_b = false;
    plain.b_stride = s.n;
    return gemm_ref(plain, a, rows.data(), c);
  }

  constexpr std::int64_t kStrip = 512;
  std::array<double, kStrip> sum;
  for (std::int64_t j0 = 0; j0 < s.n; j0 += kStrip) {
    const std::int64_t width = std::min(kStrip, s.n - j0);
    for (std::int64_t i = 0; i < s.m; ++i) {
      real* dst = c + i * s.c_stride + j0;
      for (std::int64_t j = 0; j < width; ++j) sum[std::size_t(j)] = s.accumulate ? double(dst[j]) : 0.0;
      for (std::int64_t p = 0; p < s.k; ++p) {
        const double factor = s.transpose_a ? a[p * s.a_stride + i] : a[i * s.a_stride + p];
        const real* src = b + p * s.b_stride + j0;
        for (std::int64_t j = 0; j < width; ++j) sum[std::size_t(j)] += factor * double(src[j]);
      }
      for (std::int64_t j = 0; j < width; ++j) dst[j] = real(sum[std::size_t(j)]);
    }
  }
}

}  // namespace qhv
