// The only translation unit that sees oneDNN. dnnl_sgemm has the same interface in 2.x and 3.x. oneDNN runs
// on OpenMP, whose thread count is a property of the calling thread: it is set to one there, for the reason
// given in gemm.h.
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include "tensor/gemm.h"

namespace qhv {

void gemm_onednn(const GemmShape& s, const real* a, const real* b, real* c) {
  omp_set_num_threads(1);
  const dnnl_status_t status =
      dnnl_sgemm(s.transpose_a ? 'T' : 'N', s.transpose_b ? 'T' : 'N', s.m, s.n, s.k, 1.0f, a, s.a_stride, b,
                 s.b_stride, s.accumulate ? 1.0f : 0.0f, c, s.c_stride);
  require(status == dnnl_success, "gemm", "oneDNN refused the product, status ", int(status));
}

std::string describe_onednn() {
  const dnnl_version_t* version = dnnl_version();
  return concat("oneDNN ", version->major, '.', version->minor, '.', version->patch);
}

}  // namespace qhv
