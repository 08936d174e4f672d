// For any CPU, and the definition of what all tables compute; see integer_rows.h.
#include "tensor/kernels/integer_kernels.h"

namespace qhv {
namespace {

#include "tensor/kernels/integer_rows.h"

}  // namespace

extern const IntegerKernels kIntegerKernelsRef = plain_table("ref", [] { return true; });

}  // namespace qhv
