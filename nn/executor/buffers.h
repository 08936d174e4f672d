// Places in one arena for the buffers of a program: those that are alive at the same time do not overlap.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/graph.h"

namespace qhv {

struct Buffer {
  std::int64_t size = 0;    // of one image, in the program's unit
  std::int64_t offset = 0;  // in the arena, times the batch
};

/// What steps write and read: `begin` is the writing one, `end` the last reading one.
using Lifetime = NodeRange;

/// Sets the offsets, and returns the size of the arena.
std::int64_t place_buffers(std::span<Buffer> buffers, std::span<const Lifetime> alive);

}  // namespace qhv
