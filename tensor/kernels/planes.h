// What a loop over a map's plane needs to know.
#pragma once

#include <cstdint>

namespace qhv {

/// Rows of a plane: how many, how wide, and how far apart they are where they are read and written.
struct PlaneRows {
  std::int64_t count = 0, width = 0, src_step = 0, dst_step = 0;
};

/// A tap of a window: where it reads, and its weight.
template <typename T>
struct Tap {
  std::int64_t offset;
  T weight;
};

}  // namespace qhv
