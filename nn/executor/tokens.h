// Tokens that keep the order of the pixels that they are: which of them attend to each other.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/executor/attention_pattern.h"

namespace qhv {

/// A map whose rows hold q, k and v, as a joint projection puts them out, and which of its rows are tokens
/// that see each other: those at the same position in their patches.
struct ProjectedTokens {
  std::int64_t tokens = 0, positions = 0;
  std::int64_t channels = 0, q = 0, k = 0, v = 0;  // of a row, and where its parts begin
  std::vector<std::int32_t> rows = {};             // [positions][tokens]
};

/// Of a map [height, width, channels] cut into patches of `patch` by `patch` pixels. Positions and patches
/// are both counted row by row.
ProjectedTokens projected_tokens(std::int64_t height, std::int64_t width, std::int64_t channels, int patch,
                                 const AttentionMatch& match);

}  // namespace qhv
