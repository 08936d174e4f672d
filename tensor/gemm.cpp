#include "tensor/gemm.h"

#include <algorithm>

namespace qhv {
namespace {

// oneDNN before OpenBLAS: it goes by what the CPU can do. OpenBLAS goes by the CPU's model, and one that is
// newer than the library gets its oldest kernel (a Xeon with AVX-512 the one of 2004, a third of the speed).
constexpr GemmKernel kKernels[] = {
#ifdef QHV_ONEDNN
    {"onednn", gemm_onednn, describe_onednn},
#endif
#ifdef QHV_OPENBLAS
    {"openblas", gemm_openblas, describe_openblas},
#endif
    {"ref", gemm_ref, [] { return std::string("plain C++, sums in double"); }},
};

const GemmKernel* selected = &kKernels[0];

}  // namespace

std::span<const GemmKernel> gemm_kernels() { return kKernels; }

const GemmKernel& gemm_kernel() { return *selected; }

void gemm(const GemmShape& shape, const real* a, const real* b, real* c) {
  if (shape.m == 0 || shape.n == 0) return;
  if (shape.k > 0)
    selected->run(shape, a, b, c);
  else if (!shape.accumulate)
    std::fill_n(c, shape.m * shape.n, real(0));
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
