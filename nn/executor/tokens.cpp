#include "nn/executor/tokens.h"

namespace qhv {

ProjectedTokens projected_tokens(std::int64_t height, std::int64_t width, std::int64_t channels, int patch,
                                 const AttentionMatch& match) {
  const std::int64_t positions = std::int64_t(patch) * patch;
  ProjectedTokens in{.tokens = height * width / positions,
                     .positions = positions,
                     .channels = channels,
                     .q = match.q,
                     .k = match.k,
                     .v = match.v};
  for (std::int64_t py = 0; py < patch; ++py)
    for (std::int64_t px = 0; px < patch; ++px)
      for (std::int64_t y = py; y < height; y += patch)
        for (std::int64_t x = px; x < width; x += patch) in.rows.push_back(std::int32_t(y * width + x));
  return in;
}

}  // namespace qhv
