// For any CPU: vectors of four floats, which the compiler maps to what the target has; see simd.h.
#include <utility>

#include "tensor/kernels/kernels.h"

namespace qhv {
namespace {

constexpr int kLanes = 4, kMaxVectors = 2;
constexpr int kTileRows[] = {0, 6, 4};

#include "tensor/kernels/simd.h"

}  // namespace

extern const FloatKernels kFloatKernelsPortable = table_of("portable", [] { return true; });

}  // namespace qhv
