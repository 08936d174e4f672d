#include "nn/executor/buffers.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace qhv {

// Largest first, each at the lowest place where it meets no other that is alive at the same time.
std::int64_t place_buffers(std::span<Buffer> buffers, std::span<const Lifetime> alive) {
  std::vector<int> order(buffers.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(), [&](int b) { return buffers[std::size_t(b)].size; });

  std::vector<int> placed;  // by offset
  std::int64_t arena_size = 0;
  for (const int b : order) {
    Buffer& buffer = buffers[std::size_t(b)];
    buffer.offset = 0;
    for (const int other : placed) {
      const Buffer& o = buffers[std::size_t(other)];
      const bool together = alive[std::size_t(b)].begin <= alive[std::size_t(other)].end &&
                            alive[std::size_t(other)].begin <= alive[std::size_t(b)].end;
      if (!together || buffer.offset + buffer.size <= o.offset) continue;
      buffer.offset = std::max(buffer.offset, o.offset + o.size);
    }
    placed.insert(std::ranges::upper_bound(placed, buffer.offset, {},
                                           [&](int p) { return buffers[std::size_t(p)].offset; }),
                  b);
    arena_size = std::max(arena_size, buffer.offset + buffer.size);
  }
  return arena_size;
}

}  // namespace qhv
