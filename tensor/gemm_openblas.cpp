// The only translation unit that sees OpenBLAS. Its own threads are switched off: two pools would fight for
// the cores.
#include <cblas.h>
#include <mutex>

#include "tensor/gemm.h"

namespace qhv {
namespace {

void use_one_thread() {
  static std::once_flag once;
  std::call_once(once, [] { openblas_set_num_threads(1); });
}

template <typename T>
constexpr auto cblas_gemm() {
  if constexpr (sizeof(T) == sizeof(float))
    return cblas_sgemm;
  else
    return cblas_dgemm;
}

}  // namespace

void gemm_openblas(const GemmShape& s, const real* a, const real* b, real* c) {
  use_one_thread();
  cblas_gemm<real>()(CblasRowMajor, s.transpose_a ? CblasTrans : CblasNoTrans,
                     s.transpose_b ? CblasTrans : CblasNoTrans, blasint(s.m), blasint(s.n), blasint(s.k),
                     real(1), a, blasint(s.a_stride), b, blasint(s.b_stride), real(s.accumulate), c,
                     blasint(s.c_stride));
}

std::string describe_openblas() {
  use_one_thread();
  return concat(openblas_get_config(), ", core ", openblas_get_corename());
}

}  // namespace qhv
