// The second half of a step: blocks of sums become the codes that readers want.
#pragma once

#include "quant/integer/program.h"

namespace qhv {

/// Where the buffers of one image lie.
struct ImageMemory {
  std::uint8_t* arena = nullptr;
  const std::int64_t* places = nullptr;  // by buffer, bytes into the arena

  template <typename Code>
  Code* at(int buffer) const {
    return reinterpret_cast<Code*>(arena + places[buffer]);
  }
};

/// Columns column .. column + columns - 1 of some rows of the result, as sums.
struct SumsBlock {
  const std::int32_t* sums = nullptr;
  std::int64_t stride = 0, rows = 0;
  std::int64_t first_row = 0;                 // rows follow each other,
  const std::int32_t* row_indices = nullptr;  // or, if given, these
  std::int64_t column = 0, columns = 0;
};

/// Bytes of scratch memory that store_block() needs for so many sums.
std::int64_t store_scratch(std::int64_t sums);

void store_block(const Store& store, const IntegerKernels& kernels, const ImageMemory& memory,
                 const SumsBlock& block, std::uint8_t* scratch);

}  // namespace qhv
