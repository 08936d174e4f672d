// The numbers of attention as a step of an integer program.
#pragma once

#include "quant/integer/columns.h"

namespace qhv {

template <typename Op>
struct LoweredAttention {
  Op op;
  std::vector<Column> columns;  // of its sums
};

/// Of the attention whose last node is `node`.
LoweredAttention<AttendCodes> lowered_attention(const Readers& readers, int node, ProjectedTokens tokens);
LoweredAttention<SeparableAttendCodes> lowered_separable_attention(const Readers& readers, int node,
                                                                   ProjectedTokens tokens);

}  // namespace qhv
