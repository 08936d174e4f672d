// One head of softmax attention at one position: the inner part of the step Attention (program.h).
//
// All of it is computed transposed, keys by queries and then channels by queries. So softmax runs down
// columns, a vector of queries at a time, and what it leaves is, as it stands, the packed second factor of
// the product with v^T.
#pragma once

#include "nn/executor/program.h"

namespace qhv {

/// Floats of scratch memory that attend_head() needs.
std::int64_t attention_scratch(const Attention& op, const FloatKernels& kernels);

/// x [pixels, op.in.channels] to columns head * head_size and so on of y [pixels, heads * head_size], for the
/// pixels of one position (op.in.tokens of them).
void attend_head(const Attention& op, const FloatKernels& kernels, const float* x, const std::int32_t* pixels,
                 std::int64_t head, float* y, float* scratch);

}  // namespace qhv
