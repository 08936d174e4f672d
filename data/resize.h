// Changing the size of images, to the last bit as Pillow's Image.resize and torchvision's CenterCrop do.
//
// The filter of an output pixel is centred on its place in the input, (x + 1/2) * ratio, ratio = in / out.
// When an image shrinks the filter is stretched by the ratio (antialiasing):
//
//   out[x] = sum_i w_i in[i],   w_i = f((i + 1/2 - centre) / s) / sum_j f(...),   s = max(ratio, 1)
//
//   bilinear  f(t) = 1 - |t|                                      |t| < 1
//   bicubic   f(t) = (a+2)|t|^3 - (a+3)|t|^2 + 1                  |t| < 1,   a = -1/2
//                    a |t|^3 - 5a |t|^2 + 8a |t| - 4a        1 <= |t| < 2    (Keys 1981)
//
// Rows first, then columns, with 8 bits in between; a pass that would not change the size is skipped. Weights
// are computed in double and rounded to multiples of 2^-22, sums are exact integers, rounded and clipped.
//
// Errors: std::invalid_argument for sizes below 1 or above kMaxImagePixels, for crops larger than the image.
#pragma once

#include <memory>

#include "data/image.h"

namespace qhv {

enum class Interpolation { kBilinear, kBicubic };

/// Pixels left .. left + width - 1 of the rows top .. top + height - 1.
struct Box {
  int left = 0, top = 0, width = 0, height = 0;
};

Image resize(const Image& image, int width, int height, Interpolation interpolation);

/// The pixels `box` of resize(image, width, height, interpolation), a row at a time. What they do not depend
/// on is not computed. `image` must outlive it.
class ResizedRows {
 public:
  ResizedRows(const Image& image, int width, int height, Interpolation interpolation, const Box& box);

  /// Row y of the box, 3 * box.width bytes.
  void get(int y, std::uint8_t* rgb) const;

  /// What an output pixel is made of: the inputs first, first + 1, ..., each with its weight times 2^22.
  struct Tap {
    int first, count;
    std::size_t weights;  // where they begin
  };
  struct Taps {
    std::vector<Tap> pixels;
    std::vector<std::int32_t> weights;
  };

 private:
  std::size_t size_;                         // bytes of a row of the box
  std::unique_ptr<std::uint8_t[]> weighed_;  // rows of the first pass, if there is one
  const std::uint8_t* rows_ = nullptr;       // what the second pass reads
  std::size_t stride_ = 0;
  Taps taps_;  // of the second pass, if there is one
};

Image crop(const Image& image, const Box& box);

/// The middle width x height of an image. Where the margins cannot be equal, the offset is rounded half to
/// even: a margin of 1 pixel begins at 0, one of 3 pixels at 2.
Box center_box(int image_width, int image_height, int width, int height);

}  // namespace qhv
