#include "tensor/gemm.h"

#include <algorithm>

namespace qhv {
namespace {

// oneDNN before OpenBLAS: it goes by what the CPU can do. OpenBLAS goes by the CPU's model, and one that is
// newer than the library gets its oldest kernel (a Xeon with AVX-512 the one of 2004, a third of the speed).
constexpr GemmKernel kKernels[] = {
#ifndef QHV_DOUBLE
    {"packed", gemm_packed, true, describe_packed},
#endif
#ifdef QHV_ONEDNN
    {"onednn", gemm_onednn, false, describe_onednn},
#endif
#ifdef QHV_OPENBLAS
    {"openblas", gemm_openblas, false, describe_openblas},
#endif
    {"ref", gemm_ref, false, [] { return std::string("plain C++, sums in double"); }},
};

const GemmKernel* selected = &kKernels[0];

void fill_with_bias(const GemmShape& s, real* c) {
  for (std::int64_t i = 0; i < s.m; ++i, c += s.c_stride) {
    const real first = s.column_bias ? s.column_bias[i] : 0;
    for (std::int64_t j = 0; j < s.n; ++j) c[j] = s.row_bias ? first + s.row_bias[j] : first;
  }
}

}  // namespace

std::span<const GemmKernel> gemm_kernels() { return kKernels; }

const GemmKernel& gemm_kernel() { return *selected; }

GemmShape with_strides(GemmShape s) {
  if (!s.a_stride) s.a_stride = s.transpose_a ? s.m : s.k;
  if (!s.b_stride) s.b_stride = s.transpose_b ? s.k : s.n;
  if (!s.c_stride) s.c_stride = s.n;
  return s;
}

void gemm(GemmShape shape, const real* a, const real* b, real* c) {
  if (shape.m == 0 || shape.n == 0) return;
  require(!shape.accumulate || !(shape.column_bias || shape.row_bias), "gemm", "accumulation with a bias");
  shape = with_strides(shape);
  if (!shape.accumulate &&
      (shape.k == 0 || (!selected->adds_bias && (shape.column_bias || shape.row_bias)))) {
    fill_with_bias(shape, c);
    shape.accumulate = true;
    shape.column_bias = shape.row_bias = nullptr;
  }
  if (shape.k > 0) selected->run(shape, a, b, c);
}

void select_gemm_kernel(std::string_view name) {
  std::string known;
  for (const GemmKernel& kernel : kKernels) {
    if (kernel.name == name) {
      selected = &kernel;
      return;
    }
    known += concat(known.empty() ? "" : ", ", kernel.name);
  }
  fail("gemm", concat("no kernel \"", name, "\" in this build (it has ", known, ")"));
}

}  // namespace qhv
