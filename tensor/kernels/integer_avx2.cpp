#include "tensor/kernels/integer_kernels.h"

namespace qhv {
namespace {

#include "tensor/kernels/integer_rows.h"

}  // namespace

extern const IntegerKernels kIntegerKernelsAvx2 =
    plain_table("avx2", [] { return __builtin_cpu_supports("avx2") > 0; });

}  // namespace qhv
