#include <cstddef>
#include <span>

#include "data/image.h"
#include "tensor/check.h"
#include "tensor/file.h"

// stb_image_write is a header with its implementation in it; this is the only file that sees it.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace qhv {
namespace {

/// What stb_image_write calls with the finished file.
void append(void* user, void* data, int size) {
  const auto bytes = std::span(static_cast<const std::byte*>(data), std::size_t(size));
  auto& file = *static_cast<std::vector<std::byte>*>(user);
  file.insert(file.end(), bytes.begin(), bytes.end());
}

}  // namespace

void write_png(const std::string& path, const Image& image) {
  std::vector<std::byte> file;
  if (!stbi_write_png_to_func(append, &file, image.width, image.height, 3, image.rgb.data(), 3 * image.width))
    throw std::bad_alloc();  // its only reason
  const std::span<const std::byte> parts[] = {file};
  write_file(path, parts);
}

}  // namespace qhv
