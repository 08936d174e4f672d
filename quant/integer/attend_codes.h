// One head of softmax attention at one position, in codes: the inner part of the step AttendCodes
// (program.h).
//
// Products of two activations are products with weights made on the spot: keys, and then values, are packed
// as signed bytes (code - 128), and the zero points are taken back from the sums:
//
//   sum (a - za) (b - zb) = sum a b - zb sum a - za sum b + n za zb
#pragma once

#include "quant/integer/store.h"

namespace qhv {

std::int64_t attend_scratch(const AttendCodes& op);

/// x: rows of q, k and v of an image. pixels: the rows of one position.
void attend_head(const AttendCodes& op, const Store& store, const IntegerKernels& kernels,
                 const ImageMemory& memory, const std::uint8_t* x, const std::int32_t* pixels,
                 std::int64_t head, std::uint8_t* scratch);

std::int64_t attend_separably_scratch(const SeparableAttendCodes& op);

/// All of one position.
void attend_position(const SeparableAttendCodes& op, const Store& store, const IntegerKernels& kernels,
                     const ImageMemory& memory, const std::uint8_t* x, const std::int32_t* pixels,
                     std::uint8_t* scratch);

}  // namespace qhv
