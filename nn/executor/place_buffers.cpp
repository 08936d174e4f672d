#include <algorithm>
#include <numeric>

#include "nn/executor/program.h"

namespace qhv {

// Largest first, each at the lowest place where it meets no other that is alive at the same time.
void place_buffers(Program& program) {
  const int count = int(program.buffers.size());
  std::vector<NodeRange> alive(std::size_t(count),
                               {-1, -1});  // by buffer: steps from writing to the last reading
  for (int i = 0; i < int(program.steps.size()); ++i) {
    const Step& step = program.steps[std::size_t(i)];
    alive[std::size_t(step.dst)] = {i, i};
    for (const int src : step.src) alive[std::size_t(src)].end = i;
  }
  std::vector<int> order(std::size_t(count), 0);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(),
                           [&](int b) { return program.buffers[std::size_t(b)].size; });

  std::vector<int> placed;  // by offset
  program.arena_size = 0;
  for (const int b : order) {
    Buffer& buffer = program.buffers[std::size_t(b)];
    buffer.offset = 0;
    for (const int other : placed) {
      const Buffer& o = program.buffers[std::size_t(other)];
      const bool together = alive[std::size_t(b)].begin <= alive[std::size_t(other)].end &&
                            alive[std::size_t(other)].begin <= alive[std::size_t(b)].end;
      if (!together || buffer.offset + buffer.size <= o.offset) continue;
      buffer.offset = std::max(buffer.offset, o.offset + o.size);
    }
    placed.insert(std::ranges::upper_bound(placed, buffer.offset, {},
                                           [&](int p) { return program.buffers[std::size_t(p)].offset; }),
                  b);
    program.arena_size = std::max(program.arena_size, buffer.offset + buffer.size);
  }
}

}  // namespace qhv
