// From a photograph to the input of a network in training, as torchvision's RandomResizedCrop and
// RandomHorizontalFlip do it ("Inception" cropping, Szegedy et al. 2015, section 6):
//
//   1. crop a random box: its share of the image's area uniform in [min_area, max_area], its width / height
//      log-uniform in [min_ratio, max_ratio], its place uniform. Ten draws; if none fits into the image, the
//      largest box in the middle whose ratio is within the bounds.
//   2. resize to res x res
//   3. mirror left and right with probability 1/2
//   4. colours and planes as data/preprocess.h, steps 3 and 4; Preprocess::resize is not used
//
// Everything random is a function of the seed alone.
//
// Errors: std::invalid_argument for bounds that are not 0 < min_area <= max_area <= 1 and
// 0 < min_ratio <= max_ratio, and what preprocess refuses.
#pragma once

#include <cstdint>

#include "data/preprocess.h"

namespace qhv {

struct Augment {
  double min_area = 0.35, max_area = 1;
  double min_ratio = 3.0 / 4, max_ratio = 4.0 / 3;
  bool flip = true;
};

/// The box of step 1.
Box random_box(int width, int height, const Augment& augment, std::uint64_t seed);

/// [1, 3, res, res]
Tensor augment(const Image& image, const Preprocess& options, const Augment& augment, std::uint64_t seed);

}  // namespace qhv
