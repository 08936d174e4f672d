// Image files that tests make themselves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/image.h"

namespace qhv::test {

using Bytes = std::vector<std::uint8_t>;

void save(const std::string& path, const Bytes& bytes);

/// A 24-bit BMP: rows from the bottom, blue green red, padded to 4 bytes. `claimed_*` go into the header.
Bytes bmp_bytes(const Image& image, std::uint32_t claimed_width, std::uint32_t claimed_height);
Bytes bmp_bytes(const Image& image);

/// Noise, the same for the same seed.
Image random_image(int width, int height, std::uint64_t seed);

}  // namespace qhv::test
