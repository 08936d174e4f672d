#include "data/preprocess.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"

namespace qhv {
namespace {

/// The middle res x res of the image whose shorter side has become options.resize.
ResizedRows resized_middle(const Image& image, const Preprocess& options) {
  const std::int64_t shorter = std::min(image.width, image.height),
                     longer = std::max(image.width, image.height),
                     size = options.resize == 0 ? options.res : options.resize;
  require(shorter > 0, "preprocess", "image of ", image.width, " x ", image.height);
  const std::int64_t new_longer = size * longer / shorter;
  require(size * new_longer <= kMaxImagePixels, "preprocess", "image of ", image.width, " x ", image.height,
          " is too long and thin for a shorter side of ", size);
  const bool upright = image.width <= image.height;
  const int width = int(upright ? size : new_longer), height = int(upright ? new_longer : size);
  return {image, width, height, options.interpolation, center_box(width, height, options.res, options.res)};
}

/// Steps 3 and 4, a row at a time.
class PlaneWriter {
 public:
  PlaneWriter(const Preprocess& options, real* planes) : res_(options.res) {
    for (std::size_t c = 0; c < 3; ++c) {
      planes_[c] = planes + std::int64_t(options.bgr ? 2 - c : c) * res_ * res_;
      for (int v = 0; v < 256; ++v)
        values_[c][std::size_t(v)] = real((v / 255.0 - options.mean[c]) / options.std[c]);
    }
  }

  void put(int y, const std::uint8_t* rgb) const {
    real *red = planes_[0] + y * res_, *green = planes_[1] + y * res_, *blue = planes_[2] + y * res_;
    for (std::int64_t x = 0; x < res_; ++x, rgb += 3) {
      red[x] = values_[0][rgb[0]];
      green[x] = values_[1][rgb[1]];
      blue[x] = values_[2][rgb[2]];
    }
  }

 private:
  std::int64_t res_;
  std::array<real*, 3> planes_;                  // of red, green, blue
  std::array<std::array<real, 256>, 3> values_;  // of their levels
};

}  // namespace

void validate(const Preprocess& options) {
  require(options.res > 0 && options.res <= kMaxImageSide, "preprocess", "res ", options.res);
  require(options.resize == 0 || options.resize >= options.res, "preprocess", "resize ", options.resize,
          " is below res ", options.res);
  for (std::size_t c = 0; c < 3; ++c)
    require(std::isfinite(options.mean[c]) && std::isfinite(options.std[c]) && options.std[c] > 0,
            "preprocess", "mean ", options.mean[c], ", std ", options.std[c]);
}

void preprocess(const Image& image, const Preprocess& options, real* planes) {
  validate(options);
  const ResizedRows rows = resized_middle(image, options);
  const PlaneWriter writer(options, planes);
  std::vector<std::uint8_t> row(std::size_t(3) * std::size_t(options.res), 0);
  for (int y = 0; y < options.res; ++y) {
    rows.get(y, row.data());
    writer.put(y, row.data());
  }
}

Tensor preprocess(const Image& image, const Preprocess& options) {
  validate(options);
  Tensor x = Tensor::uninitialized({1, 3, options.res, options.res});
  preprocess(image, options, x.data());
  return x;
}

Tensor image_to_tensor(const Image& image, const Preprocess& options) {
  validate(options);
  const int res = options.res;
  require(image.width == res && image.height == res, "preprocess", "image of ", image.width, " x ",
          image.height, " for a res of ", res);
  Tensor x = Tensor::uninitialized({1, 3, res, res});
  const PlaneWriter writer(options, x.data());
  for (int y = 0; y < res; ++y) writer.put(y, image.row(y));
  return x;
}

int resize_for_crop(int res, double crop_pct) {
  require(crop_pct > 0 && crop_pct <= 1, "preprocess", "crop_pct ", crop_pct, " is not in (0, 1]");
  const double shorter_side = std::floor(res / crop_pct);
  require(res > 0 && shorter_side <= kMaxImageSide, "preprocess", "res ", res, " with crop_pct ", crop_pct);
  return int(shorter_side);
}

}  // namespace qhv
