// Matrix product, the one routine that most of the arithmetic goes through:
//
//   C[m, n] (+)= op(A)[m, k] * op(B)[k, n] (+ bias)        row-major
//
// Several kernels stand behind it: "ref" (plain C++, sums in double), for floats "packed" (the executor's
// kernels), "openblas" and "onednn" where the build found them. The program may force one; it does so once,
// before any thread starts. Every kernel runs on the calling thread alone: parallelism is over images
// (parallel.h), so that results do not depend on the number of threads.
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
  // Elements from row to row of what is stored; 0: rows lie one behind the other.
  std::int64_t a_stride = 0, b_stride = 0, c_stride = 0;
  // Null, or what is added to each column [m] or each row [n] of a product that overwrites C.
  const real *column_bias = nullptr, *row_bias = nullptr;
};

/// With the strides that were left out.
GemmShape with_strides(GemmShape shape);

struct GemmKernel {
  const char* name;
  // Called by gemm() with m, n, k >= 1 and all strides.
  void (*run)(const GemmShape&, const real* a, const real* b, real* c);
  bool adds_bias;             // otherwise gemm() does, before `run` accumulates
  std::string (*describe)();  // library, version and the code path that it chose on this CPU
};

/// The kernels of this build, the default first.
std::span<const GemmKernel> gemm_kernels();

/// The kernel in use.
const GemmKernel& gemm_kernel();

/// Makes `name` the kernel in use. Throws std::invalid_argument, listing the known ones.
void select_gemm_kernel(std::string_view name);

/// The product by the kernel in use; an empty sum (k = 0) is zero.
void gemm(GemmShape shape, const real* a, const real* b, real* c);

void gemm_ref(const GemmShape& shape, const real* a, const real* b, real* c);
void gemm_packed(const GemmShape& shape, const float* a, const float* b, float* c);
void gemm_openblas(const GemmShape& shape, const real* a, const real* b, real* c);
void gemm_onednn(const GemmShape& shape, const real* a, const real* b, real* c);
std::string describe_packed();
std::string describe_openblas();
std::string describe_onednn();

}  // namespace qhv
