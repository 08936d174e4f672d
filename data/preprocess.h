// From a photograph to the input of a network, as torchvision and timm do it for evaluation:
//
//   1. resize so that the shorter side has `resize` pixels; the longer one is rounded down
//   2. crop the middle res x res
//   3. x = (u8 / 255 - mean) / std, per colour
//   4. planes red, green, blue: [1, 3, res, res]; the other way round with `bgr` (the ImageNet checkpoints of
//      the original MobileViT code were trained so). mean and std are always in the order red, green, blue.
//
// crop_pct is how timm writes step 1: resize = floor(res / crop_pct), e.g. 256 / 0.9 = 284.
//
// Errors: std::invalid_argument for resize < res, a std that is not positive, numbers that are not finite,
// and images so thin that the resized one would have more than kMaxImagePixels.
#pragma once

#include <array>

#include "data/image.h"
#include "data/resize.h"
#include "tensor/tensor.h"

namespace qhv {

struct Preprocess {
  int res = 256;
  int resize = 0;  // shorter side before the crop; 0 is res
  Interpolation interpolation = Interpolation::kBicubic;
  std::array<double, 3> mean{0, 0, 0};
  std::array<double, 3> std{1, 1, 1};
  bool bgr = false;
};

/// Throws unless the options make sense by themselves.
void validate(const Preprocess& options);

Tensor preprocess(const Image& image, const Preprocess& options);
/// The same to where the planes shall lie, as in a batch.
void preprocess(const Image& image, const Preprocess& options, real* planes);

/// Steps 3 and 4 alone, for an image that has res x res pixels already.
Tensor image_to_tensor(const Image& image, const Preprocess& options);

/// The shorter side for a crop that keeps `crop_pct` of it, 0 < crop_pct <= 1.
int resize_for_crop(int res, double crop_pct);

}  // namespace qhv
