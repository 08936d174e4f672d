#include "tests/image_files.h"

#include <fstream>

#include "tensor/rng.h"

namespace qhv::test {
namespace {

void put(Bytes& out, std::uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(std::uint8_t(value >> (8 * i)));
}

}  // namespace

Bytes bmp_bytes(const Image& image, std::uint32_t claimed_width, std::uint32_t claimed_height) {
  Bytes out{'B', 'M'};
  out.resize(10);   // file size, reserved: not read
  put(out, 54, 4);  // where the pixels begin
  put(out, 40, 4);  // size of the second header
  put(out, claimed_width, 4);
  put(out, claimed_height, 4);
  put(out, 1, 2);   // planes
  put(out, 24, 2);  // bits per pixel
  out.resize(54);   // no compression; the rest is not read
  for (int y = image.height - 1; y >= 0; --y) {
    for (int x = 0; x < image.width; ++x)
      for (int c = 2; c >= 0; --c) out.push_back(image.row(y)[3 * x + c]);
    while ((out.size() - 54) % 4 != 0) out.push_back(0);
  }
  return out;
}

Bytes bmp_bytes(const Image& image) {
  return bmp_bytes(image, std::uint32_t(image.width), std::uint32_t(image.height));
}

Image random_image(int width, int height, std::uint64_t seed) {
  Image image = make_image(width, height);
  for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = std::uint8_t(random_bits(seed, i));
  return image;
}

void save(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
}

}  // namespace qhv::test
