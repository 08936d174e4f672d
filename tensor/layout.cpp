#include <algorithm>

#include "tensor/ops.h"

namespace qhv {
namespace {

/// Calls move(map offset, token offset) for every element of a [B, C, H, W] map. Tokens transpose the map, so
/// channels go in blocks: those of one row of the map then fill whole cache lines of the tokens.
template <typename Move>
void for_each_patch_element(std::int64_t batch, std::int64_t channels, std::int64_t height,
                            std::int64_t width, std::int64_t patch, PatchLayout layout, Move move) {
  constexpr std::int64_t kBlock = 16;
  const std::int64_t columns = width / patch, patches = (height / patch) * columns;
  const bool tokens = layout == PatchLayout::kTokens;
  const std::int64_t image = channels * height * width, token_step = tokens ? channels : 1,
                     position_step = patches * token_step, channel_step = tokens ? 1 : height * width;
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t block = 0; block < channels; block += kBlock)
      for (std::int64_t y = 0; y < height; ++y) {
        const std::int64_t row =
            b * image + y / patch * columns * token_step + y % patch * patch * position_step;
        for (std::int64_t c = block; c < std::min(channels, block + kBlock); ++c)
          for (std::int64_t px = 0; px < patch; ++px) {
            const std::int64_t map = b * image + (c * height + y) * width + px,
                               token = row + px * position_step + c * channel_step;
            for (std::int64_t i = 0; i < columns; ++i) move(map + i * patch, token + i * token_step);
          }
      }
}

void require_patches(const char* op, std::int64_t height, std::int64_t width, int patch) {
  require(patch > 0 && height % patch == 0 && width % patch == 0, op, height, " x ", width,
          " is not a multiple of ", patch, " x ", patch, " patches");
}

}  // namespace

Tensor concat_axis(const std::vector<const Tensor*>& parts, int axis) {
  require(!parts.empty(), "concat", "nothing to join");
  const Tensor& first = *parts.front();
  require(axis >= 0 && axis < first.rank(), "concat", "axis ", axis, " of shape ", first.shape());
  Shape shape = first.shape();
  shape[std::size_t(axis)] = 0;
  for (const Tensor* part : parts) {
    Shape expected = first.shape();
    require(part->rank() == first.rank(), "concat", "shapes ", first.shape(), " and ", part->shape());
    expected[std::size_t(axis)] = part->dim(axis);
    require(part->shape() == expected, "concat", "shapes ", first.shape(), " and ", part->shape());
    shape[std::size_t(axis)] += part->dim(axis);
  }
  Tensor y = Tensor::uninitialized(shape);
  const std::int64_t row = inner_count(y.shape(), axis) * y.dim(axis);
  std::int64_t start = 0;
  for (const Tensor* part : parts) {
    const std::int64_t width = inner_count(part->shape(), axis) * part->dim(axis);
    for (std::int64_t i = 0; width && i < part->size() / width; ++i)
      std::copy_n(part->data() + i * width, width, y.data() + i * row + start);
    start += width;
  }
  return y;
}

Tensor slice(const Tensor& x, int axis, std::int64_t begin, std::int64_t end) {
  require(axis >= 0 && axis < x.rank() && 0 <= begin && begin <= end && end <= x.dim(axis), "slice", begin,
          " .. ", end, " of axis ", axis, " of shape ", x.shape());
  Shape shape = x.shape();
  shape[std::size_t(axis)] = end - begin;
  Tensor y = Tensor::uninitialized(shape);
  const std::int64_t inner = inner_count(x.shape(), axis), width = (end - begin) * inner,
                     row = x.dim(axis) * inner;
  for (std::int64_t i = 0; width && i < y.size() / width; ++i)
    std::copy_n(x.data() + i * row + begin * inner, width, y.data() + i * width);
  return y;
}

void slice_accumulate(Tensor& dx, const Tensor& dy, int axis, std::int64_t begin) {
  const auto mismatch = [&] {
    return concat("gradient ", dy.shape(), " of elements from ", begin, " of axis ", axis, " of shape ",
                  dx.shape());
  };
  require(axis >= 0 && axis < dx.rank() && dy.rank() == dx.rank(), "slice_accumulate", mismatch());
  Shape shape = dx.shape();
  shape[std::size_t(axis)] = dy.dim(axis);
  require(dy.shape() == shape && begin >= 0 && begin + dy.dim(axis) <= dx.dim(axis), "slice_accumulate",
          mismatch());
  const std::int64_t inner = inner_count(dx.shape(), axis), width = dy.dim(axis) * inner,
                     row = dx.dim(axis) * inner;
  for (std::int64_t i = 0; width && i < dy.size() / width; ++i) {
    const real* src = dy.data() + i * width;
    real* dst = dx.data() + i * row + begin * inner;
    for (std::int64_t j = 0; j < width; ++j) dst[j] += src[j];
  }
}

Tensor split_heads(const Tensor& x, int heads) {
  require(x.rank() == 3 && heads > 0 && x.dim(2) % heads == 0, "split_heads", x.shape(), " into ", heads,
          " heads");
  const std::int64_t batch = x.dim(0), tokens = x.dim(1), width = x.dim(2) / heads;
  Tensor y = Tensor::uninitialized({batch, heads, tokens, width});
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t n = 0; n < tokens; ++n)
        std::copy_n(x.data() + ((b * tokens + n) * heads + h) * width, width,
                    y.data() + ((b * heads + h) * tokens + n) * width);
  return y;
}

Tensor merge_heads(const Tensor& x) {
  require(x.rank() == 4, "merge_heads", "input of shape ", x.shape());
  const std::int64_t batch = x.dim(0), heads = x.dim(1), tokens = x.dim(2), width = x.dim(3);
  Tensor y = Tensor::uninitialized({batch, tokens, heads * width});
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t n = 0; n < tokens; ++n)
        std::copy_n(x.data() + ((b * heads + h) * tokens + n) * width, width,
                    y.data() + ((b * tokens + n) * heads + h) * width);
  return y;
}

Tensor unfold_patches(const Tensor& x, int patch, PatchLayout layout) {
  require(x.rank() == 4, "unfold_patches", "input of shape ", x.shape());
  const std::int64_t batch = x.dim(0), channels = x.dim(1), height = x.dim(2), width = x.dim(3);
  require_patches("unfold_patches", height, width, patch);
  const std::int64_t positions = std::int64_t(patch) * patch, patches = height * width / positions;
  Tensor y =
      Tensor::uninitialized(layout == PatchLayout::kTokens ? Shape{batch * positions, patches, channels}
                                                           : Shape{batch, channels, positions, patches});
  for_each_patch_element(batch, channels, height, width, patch, layout,
                         [&](std::int64_t map, std::int64_t token) { y[token] = x[map]; });
  return y;
}

Tensor fold_patches(const Tensor& x, int patch, PatchLayout layout, std::int64_t height, std::int64_t width) {
  require_patches("fold_patches", height, width, patch);
  const std::int64_t positions = std::int64_t(patch) * patch, patches = height * width / positions;
  const bool tokens = layout == PatchLayout::kTokens;
  require(x.rank() == (tokens ? 3 : 4), "fold_patches", "input of shape ", x.shape());
  const std::int64_t batch = tokens ? x.dim(0) / positions : x.dim(0),
                     channels = tokens ? x.dim(2) : x.dim(1);
  require(x.shape() == (tokens ? Shape{batch * positions, patches, channels}
                               : Shape{batch, channels, positions, patches}),
          "fold_patches", x.shape(), " to ", height, " x ", width, " with ", patch, " x ", patch, " patches");
  Tensor y = Tensor::uninitialized({batch, channels, height, width});
  for_each_patch_element(batch, channels, height, width, patch, layout,
                         [&](std::int64_t map, std::int64_t token) { y[map] = x[token]; });
  return y;
}

}  // namespace qhv
