// What the program reports of its memory.
#pragma once

#include <cstdint>

namespace qhv {

/// Largest resident memory of the process so far, in bytes.
std::int64_t peak_bytes();

}  // namespace qhv
