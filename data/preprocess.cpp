#include "data/preprocess.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"

namespace qhv {
namespace {

Image resize_shorter_side(const Image& image, int size, Interpolation interpolation) {
  const std::int64_t shorter = std::min(image.width, image.height);
  const std::int64_t longer = std::max(image.width, image.height);
  require(shorter > 0, "preprocess", "image of ", image.width, " x ", image.height);
  const std::int64_t new_longer = size * longer / shorter;
  require(size * new_longer <= kMaxImagePixels, "preprocess", "image of ", image.width, " x ", image.height,
          " is too long and thin for a shorter side of ", size);
  return image.width <= image.height ? resize(image, size, int(new_longer), interpolation)
                                     : resize(image, int(new_longer), size, interpolation);
}

}  // namespace

void validate(const Preprocess& options) {
  require(options.res > 0 && options.res <= kMaxImageSide, "preprocess", "res ", options.res);
  require(options.resize == 0 || options.resize >= options.res, "preprocess", "resize ", options.resize,
          " is below res ", options.res);
  for (std::size_t c = 0; c < 3; ++c)
    require(std::isfinite(options.mean[c]) && std::isfinite(options.std[c]) && options.std[c] > 0,
            "preprocess", "mean ", options.mean[c], ", std ", options.std[c]);
}

Tensor preprocess(const Image& image, const Preprocess& options) {
  validate(options);
  const int res = options.res;
  const int shorter_side = options.resize == 0 ? res : options.resize;
  return image_to_tensor(
      center_crop(resize_shorter_side(image, shorter_side, options.interpolation), res, res), options);
}

Tensor image_to_tensor(const Image& image, const Preprocess& options) {
  validate(options);
  const int res = options.res;
  require(image.width == res && image.height == res, "preprocess", "image of ", image.width, " x ",
          image.height, " for a res of ", res);
  const std::int64_t pixels = std::int64_t(res) * res;
  Tensor x = Tensor::uninitialized({1, 3, res, res});
  for (std::size_t c = 0; c < 3; ++c) {
    std::array<real, 256> value;
    for (int v = 0; v < 256; ++v)
      value[std::size_t(v)] = real((v / 255.0 - options.mean[c]) / options.std[c]);
    real* plane = x.data() + std::int64_t(options.bgr ? 2 - c : c) * pixels;
    for (std::int64_t i = 0; i < pixels; ++i) plane[i] = value[image.rgb[std::size_t(3 * i) + c]];
  }
  return x;
}

int resize_for_crop(int res, double crop_pct) {
  require(crop_pct > 0 && crop_pct <= 1, "preprocess", "crop_pct ", crop_pct, " is not in (0, 1]");
  const double shorter_side = std::floor(res / crop_pct);
  require(res > 0 && shorter_side <= kMaxImageSide, "preprocess", "res ", res, " with crop_pct ", crop_pct);
  return int(shorter_side);
}

}  // namespace qhv
