// Matrix product, the one routine that most of the arithmetic goes through:
//
//   C[m, n] (+)= op(A)[m, k] * op(B)[k, n]        row-major, contiguous
//
// Several kernels stand behind it: "ref" (here, plain C++, sums in double), "openblas" and "onednn" where the
// build found them. The program may force one; it does so once, before any thread starts. Every kernel runs
// on the calling thread alone: parallelism is over images (parallel.h), so that results do not depend on the
// number of threads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace qhv {

struct GemmShape {
  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false;  // A is stored [k, m]
  bool transpose_b = false;  // B is stored [n, k]
  bool accumulate = false;   // add to C instead of overwriting it
};

struct GemmKernel {
  const char* name;
  // Called by gemm() with m, n, k >= 1.
  void (*run)(const GemmShape&, const real* a, const real* b, real* c);
  std::string (*describe)();  // library, version and the code path that it chose on this CPU
};

/// The kernels of this build, the default first.
std::span<const GemmKernel> gemm_kernels();

/// The kernel in use.
const GemmKernel& gemm_kernel();

/// Makes `name` the kernel in use. Throws std::invalid_argument, listing the known ones.
void select_gemm_kernel(std::string_view name);

/// The product by the kernel in use; an empty sum (k = 0) is zero.
void gemm(const GemmShape& shape, const real* a, const real* b, real* c);

void gemm_ref(const GemmShape& shape, const real* a, const real* b, real* c);
void gemm_openblas(const GemmShape& shape, const real* a, const real* b, real* c);
void gemm_onednn(const GemmShape& shape, const real* a, const real* b, real* c);
std::string describe_openblas();
std::string describe_onednn();

}  // namespace qhv
