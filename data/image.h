// Photographs from files: JPEG, PNG and BMP, always as 8-bit RGB. Written as PNG.
//
// An Image is row-major and interleaved: the colour c (0 red, 1 green, 2 blue) of the pixel in row y, column
// x is rgb[3 * (y * width + x) + c]. Grey is replicated, transparency is dropped and EXIF orientation is
// ignored, which is what Pillow's convert("RGB") does. JPEG decoders differ by a level here and there, by
// design of the format; PNG and BMP are exact.
//
// Dimensions are bounded before anything is decoded, so that a small file cannot ask for much memory.
//
// Errors: std::runtime_error with the path: unreadable, not one of the formats, too large, damaged, cut
// short; where it cannot be written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qhv {

inline constexpr int kMaxImageSide = 16384;  // pixels
inline constexpr std::int64_t kMaxImagePixels = std::int64_t{1} << 26;

struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;  // 3 * width * height

  std::uint8_t* row(int y) { return rgb.data() + std::size_t(3) * std::size_t(width) * std::size_t(y); }
  const std::uint8_t* row(int y) const {
    return rgb.data() + std::size_t(3) * std::size_t(width) * std::size_t(y);
  }
};

/// A black image. Throws std::invalid_argument unless both sides are positive and within kMaxImagePixels.
Image make_image(int width, int height);

Image decode_image(const std::string& path);

/// Replaces `path` by the image as a PNG file, which decodes to the same pixels.
void write_png(const std::string& path, const Image& image);

/// Whether the name ends in .jpg, .jpeg, .png or .bmp, in capitals or not.
bool has_image_extension(std::string_view path);

}  // namespace qhv
