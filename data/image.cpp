#include "data/image.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "tensor/check.h"
#include "tensor/file.h"
#include "tensor/vectorize.h"

// stb_image is a header with its implementation in it; this is the only file that sees it. Its memory is
// zeroed, because up to 2.27 a JPEG file could make it use Huffman tables that it had never filled.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 16384
#define STBI_MALLOC(size) std::calloc(1, size)
#define STBI_REALLOC std::realloc
#define STBI_FREE std::free
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace qhv {
namespace {

static_assert(STBI_MAX_DIMENSIONS == kMaxImageSide);
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 28;

/// The bytes of a file as stb_image's callbacks read them. Where a file is cut short, stb_image may go on
/// with zeros and report success (it does for BMP); `overrun` remembers that it asked for more.
struct Reader {
  std::span<const std::byte> rest;
  bool overrun = false;

  static int read(void* user, char* dst, int size) {
    auto& reader = *static_cast<Reader*>(user);
    if (reader.rest.empty()) reader.overrun = true;
    const std::size_t n = std::min(reader.rest.size(), std::size_t(size));
    std::copy_n(reader.rest.data(), n, reinterpret_cast<std::byte*>(dst));
    reader.rest = reader.rest.subspan(n);
    return int(n);
  }
  static void skip(void* user, int size) {
    auto& reader = *static_cast<Reader*>(user);
    reader.rest = reader.rest.subspan(std::min(reader.rest.size(), std::size_t(size)));
  }
  static int eof(void* user) { return static_cast<Reader*>(user)->rest.empty(); }
};

constexpr stbi_io_callbacks kCallbacks{Reader::read, Reader::skip, Reader::eof};

/// Whether all Huffman tables of a JPEG file have at most 256 codes: stb_image up to 2.27 writes past its
/// arrays where one has more. Follows the file as stb_image does: 0xFF, a marker, and for most markers a
/// segment with its 16-bit length; compressed data is whatever lies between segments, its 0xFF are followed
/// by 0 or a restart marker.
bool huffman_tables_fit(std::span<const std::byte> file) {
  constexpr unsigned kDefineHuffmanTables = 0xc4, kRestart = 0xd0, kStart = 0xd8, kEnd = 0xd9;
  const auto at = [&](std::size_t i) { return i < file.size() ? std::to_integer<unsigned>(file[i]) : 0; };
  std::size_t i = 0;
  while (i + 1 < file.size()) {
    const void* next = std::memchr(&file[i], 0xff, file.size() - i);
    if (!next) break;
    i = std::size_t(static_cast<const std::byte*>(next) - file.data());
    const unsigned marker = at(i + 1);
    if (marker == 0xff) {
      ++i;
      continue;
    }
    i += 2;
    if (marker == kEnd) break;
    if (marker == 0 || (marker >= kRestart && marker <= kStart)) continue;
    const std::size_t end = i + 256 * at(i) + at(i + 1);
    if (marker == kDefineHuffmanTables)
      for (std::size_t table = i + 2; table < end;) {
        std::size_t codes = 0;  // of 1 to 16 bits, after a byte that names the table
        for (std::size_t bits = 1; bits <= 16; ++bits) codes += at(table + bits);
        if (codes > 256) return false;
        table += 17 + codes;
      }
    i = end;
  }
  return true;
}

/// The colours of `count` pixels of four bytes, of which the last is transparency.
QHV_VECTORIZE void drop_transparency(const stbi_uc* rgba, std::size_t count, std::uint8_t* rgb) {
  using Bytes [[gnu::vector_size(16)]] = std::uint8_t;
  // Four pixels at a time; the four bytes too many are overwritten by the next pixels.
  for (; count > 5; count -= 4, rgba += 16, rgb += 12) {
    Bytes pixels;
    std::memcpy(&pixels, rgba, sizeof(pixels));
    pixels = __builtin_shufflevector(pixels, pixels, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15);
    std::memcpy(rgb, &pixels, sizeof(pixels));
  }
  for (; count > 0; --count, rgba += 4, rgb += 3) std::copy_n(rgba, 3, rgb);
}

struct FreePixels {
  void operator()(stbi_uc* pixels) const { stbi_image_free(pixels); }
};

}  // namespace

Image make_image(int width, int height) {
  require(width > 0 && height > 0 && std::int64_t(width) * height <= kMaxImagePixels, "image", width, " x ",
          height, " pixels");
  return {width, height,
          std::vector<std::uint8_t>(std::size_t(3) * std::size_t(width) * std::size_t(height))};
}

Image decode_image(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path, kMaxFileBytes);
  if (bytes.empty()) file_error(path, "is empty");
  if (bytes.front() == std::byte{0xff} && !huffman_tables_fit(bytes))
    file_error(path, "is damaged (a Huffman table with more than 256 codes)");

  int width = 0, height = 0, channels = 0;
  Reader header{bytes};
  if (!stbi_info_from_callbacks(&kCallbacks, &header, &width, &height, &channels))
    file_error(path, "is not a JPEG, PNG or BMP image, or claims more than ", kMaxImageSide,
               " pixels a side");
  if (width < 1 || height < 1 || width > kMaxImageSide || height > kMaxImageSide ||
      std::int64_t(width) * height > kMaxImagePixels)
    file_error(path, "claims ", width, " x ", height, " pixels; the limits are ", kMaxImageSide,
               " a side and ", kMaxImagePixels, " in all");

  // stb_image vectorises the conversion of a JPEG's colours for pixels of four bytes only.
  Reader reader{bytes};
  const std::unique_ptr<stbi_uc, FreePixels> pixels(
      stbi_load_from_callbacks(&kCallbacks, &reader, &width, &height, &channels, STBI_rgb_alpha));
  if (!pixels) file_error(path, "is damaged (", stbi_failure_reason(), ")");
  if (reader.overrun) file_error(path, "is damaged (ended early)");

  Image image = make_image(width, height);
  drop_transparency(pixels.get(), image.rgb.size() / 3, image.rgb.data());
  return image;
}

bool has_image_extension(std::string_view path) {
  constexpr std::array<std::string_view, 4> kExtensions{".jpg", ".jpeg", ".png", ".bmp"};
  const auto same_letter = [](unsigned char a, unsigned char b) { return std::tolower(a) == b; };
  return std::any_of(kExtensions.begin(), kExtensions.end(), [&](std::string_view extension) {
    return path.size() > extension.size() && std::equal(path.end() - std::ptrdiff_t(extension.size()),
                                                        path.end(), extension.begin(), same_letter);
  });
}

}  // namespace qhv
