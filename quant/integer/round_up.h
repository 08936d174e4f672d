// Sizes of memory in whole units.
#pragma once

#include <cstdint>

#include "tensor/kernels/aligned.h"

namespace qhv {

/// The next multiple of `unit`.
inline std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

/// So many bytes, up to the end of a cache line.
inline std::int64_t aligned_bytes(std::int64_t bytes) { return round_up(bytes, std::int64_t(kCacheLine)); }

}  // namespace qhv
