#include "data/augment.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"
#include "tensor/rng.h"

namespace qhv {
namespace {

constexpr std::uint64_t kTries = 10, kDrawsPerTry = 4, kFlipDraw = kTries * kDrawsPerTry;

void validate(const Augment& augment) {
  require(augment.min_area > 0 && augment.min_area <= augment.max_area && augment.max_area <= 1, "augment",
          "areas ", augment.min_area, " .. ", augment.max_area, " are not within (0, 1]");
  require(augment.min_ratio > 0 && augment.min_ratio <= augment.max_ratio && std::isfinite(augment.max_ratio),
          "augment", "ratios ", augment.min_ratio, " .. ", augment.max_ratio,
          " are not positive and in order");
}

double uniform(double low, double high, std::uint64_t seed, std::uint64_t index) {
  return low + (high - low) * unit_uniform(seed, index);
}

Box middle_box(int width, int height, const Augment& augment) {
  const double ratio = double(width) / height;
  Box box{.width = width, .height = height};
  if (ratio < augment.min_ratio) box.height = std::max(int(std::lround(width / augment.min_ratio)), 1);
  if (ratio > augment.max_ratio) box.width = std::max(int(std::lround(height * augment.max_ratio)), 1);
  box.left = (width - box.width) / 2;
  box.top = (height - box.height) / 2;
  return box;
}

void mirror(Image& image) {
  for (int y = 0; y < image.height; ++y)
    for (int left = 0, right = image.width - 1; left < right; ++left, --right)
      std::swap_ranges(image.row(y) + 3 * left, image.row(y) + 3 * left + 3, image.row(y) + 3 * right);
}

}  // namespace

Box random_box(int width, int height, const Augment& augment, std::uint64_t seed) {
  validate(augment);
  require(width > 0 && height > 0, "augment", "image of ", width, " x ", height);
  const double log_min = std::log(augment.min_ratio), log_max = std::log(augment.max_ratio);
  for (std::uint64_t attempt = 0; attempt < kTries; ++attempt) {
    const std::uint64_t draw = attempt * kDrawsPerTry;
    const double area = uniform(augment.min_area, augment.max_area, seed, draw) * width * height;
    const double ratio = std::exp(uniform(log_min, log_max, seed, draw + 1));
    const double w = std::round(std::sqrt(area * ratio)), h = std::round(std::sqrt(area / ratio));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    const int free_columns = width - int(w), free_rows = height - int(h);
    return {int(random_below(seed, draw + 2, std::uint32_t(free_columns + 1))),
            int(random_below(seed, draw + 3, std::uint32_t(free_rows + 1))), int(w), int(h)};
  }
  return middle_box(width, height, augment);
}

Tensor augment(const Image& image, const Preprocess& options, const Augment& augment, std::uint64_t seed) {
  validate(options);
  const Box box = random_box(image.width, image.height, augment, seed);
  Image result = resize(crop(image, box), options.res, options.res, options.interpolation);
  if (augment.flip && random_bits(seed, kFlipDraw) >> 63) mirror(result);
  return image_to_tensor(result, options);
}

}  // namespace qhv
