#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>

#include "data/image.h"
#include "tensor/rng.h"
#include "tests/image_files.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

// 2 x 2 with transparency: red, green (half transparent), blue (fully transparent), (10, 20, 30).
const Bytes kPng{0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48,
                 0x44, 0x52, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x08, 0x06, 0x00, 0x00,
                 0x00, 0x72, 0xb6, 0x0d, 0x24, 0x00, 0x00, 0x00, 0x16, 0x49, 0x44, 0x41, 0x54, 0x78,
                 0xda, 0x63, 0xf8, 0xcf, 0xc0, 0xf0, 0x1f, 0x08, 0x1b, 0x18, 0x40, 0x34, 0x97, 0x88,
                 0xdc, 0x7f, 0x00, 0x37, 0x80, 0x05, 0xb8, 0x88, 0x71, 0xa6, 0x15, 0x00, 0x00, 0x00,
                 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

// 16 x 8, grey: the left half 64, the right half 192. Baseline, one flat block each.
const Bytes kJpeg{0xff, 0xd8, 0xff, 0xdb, 0x00, 0x43, 0x00, 0x03, 0x02, 0x02, 0x03, 0x02, 0x02, 0x03, 0x03,
                  0x03, 0x03, 0x04, 0x03, 0x03, 0x04, 0x05, 0x08, 0x05, 0x05, 0x04, 0x04, 0x05, 0x0a, 0x07,
                  0x07, 0x06, 0x08, 0x0c, 0x0a, 0x0c, 0x0c, 0x0b, 0x0a, 0x0b, 0x0b, 0x0d, 0x0e, 0x12, 0x10,
                  0x0d, 0x0e, 0x11, 0x0e, 0x0b, 0x0b, 0x10, 0x16, 0x10, 0x11, 0x13, 0x14, 0x15, 0x15, 0x15,
                  0x0c, 0x0f, 0x17, 0x18, 0x16, 0x14, 0x18, 0x12, 0x14, 0x15, 0x14, 0xff, 0xc0, 0x00, 0x0b,
                  0x08, 0x00, 0x08, 0x00, 0x10, 0x01, 0x01, 0x11, 0x00, 0xff, 0xc4, 0x00, 0x15, 0x00, 0x01,
                  0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                  0x08, 0x09, 0xff, 0xc4, 0x00, 0x14, 0x10, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                  0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xda, 0x00, 0x08, 0x01, 0x01,
                  0x00, 0x00, 0x3f, 0x00, 0x2a, 0x2a, 0xb3, 0xff, 0xd9};

}  // namespace

TEST_CASE("image: BMP, with and without padding of its rows") {
  const TemporaryFolder folder;
  for (int width = 1; width <= 9; ++width) {
    const Image image = random_image(width, 3, std::uint64_t(width));
    const std::string path = folder / concat(width, ".bmp");
    save(path, bmp_bytes(image));
    const Image read = decode_image(path);
    CHECK(read.width == width);
    CHECK(read.height == 3);
    CHECK(read.rgb == image.rgb);
  }
}

TEST_CASE("image: PNG, transparency dropped") {
  const TemporaryFolder folder;
  save(folder / "a.png", kPng);
  const Image image = decode_image(folder / "a.png");
  CHECK(image.width == 2);
  CHECK(image.height == 2);
  CHECK(image.rgb == Bytes{255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30});
}

TEST_CASE("image: JPEG, grey replicated, by content and not by name") {
  const TemporaryFolder folder;
  save(folder / "a.png", kJpeg);
  const Image image = decode_image(folder / "a.png");
  REQUIRE(image.width == 16);
  REQUIRE(image.height == 8);
  for (int y = 0; y < 8; ++y)
    for (int i = 0; i < 48; ++i) CHECK(int(image.row(y)[i]) == (i < 24 ? 64 : 192));
}

TEST_CASE("image: every way of cutting a file short is an error") {
  const TemporaryFolder folder;
  const std::string path = folder / "cut";
  for (const Bytes& whole : {kPng, kJpeg, bmp_bytes(random_image(4, 3, 1))}) {
    for (std::size_t n = 0; n < whole.size(); ++n) {
      save(path, Bytes(whole.begin(), whole.begin() + std::ptrdiff_t(n)));
      CAPTURE(n);
      CHECK(error_of([&] { decode_image(path); }).starts_with("runtime_error: " + path + ": is "));
    }
    save(path, whole);
    CHECK(error_of([&] { decode_image(path); }) == "no error");
  }
}

TEST_CASE("image: damaged bytes give an image or an error, never anything else") {
  const TemporaryFolder folder;
  const std::string path = folder / "damaged";
  int errors = 0;
  for (const Bytes& whole : {kPng, kJpeg, bmp_bytes(random_image(4, 3, 1))})
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      Bytes bytes = whole;
      for (std::uint64_t k = 0; k <= seed % 3; ++k)
        bytes[random_below(seed, 2 * k, std::uint32_t(bytes.size()))] =
            std::uint8_t(random_bits(seed, 2 * k + 1));
      save(path, bytes);
      const std::string error = error_of([&] {
        const Image image = decode_image(path);
        CHECK(image.rgb.size() == std::size_t(3) * std::size_t(image.width) * std::size_t(image.height));
      });
      CAPTURE(seed);
      CHECK((error == "no error" || error.starts_with("runtime_error: " + path)));
      errors += error != "no error";
    }
  CHECK(errors > 100);
  CHECK(errors < 900);
}

TEST_CASE("image: a JPEG with too many Huffman codes is refused") {
  const TemporaryFolder folder;
  const std::string path = folder / "a.jpg";
  const Bytes marker{0xff, 0xc4};
  for (const int bits : {1, 8, 15}) {  // 200 codes of so many bits and 200 of one bit more
    Bytes bytes = kJpeg;
    const auto table = std::search(bytes.begin(), bytes.end(), marker.begin(), marker.end()) + 4;
    std::fill_n(table + bits, 2, std::uint8_t(200));
    save(path, bytes);
    const std::string error = error_of([&] { decode_image(path); });
    CHECK(error == "runtime_error: " + path + ": is damaged (a Huffman table with more than 256 codes)");
  }
}

TEST_CASE("image: dimensions are bounded before anything is decoded") {
  const TemporaryFolder folder;
  const Image tiny = random_image(1, 1, 1);
  const std::string path = folder / "big";
  const auto error = [&](const Bytes& bytes) {
    save(path, bytes);
    return error_of([&] { decode_image(path); });
  };
  CHECK(error(bmp_bytes(tiny, 100000, 100000)) ==
        "runtime_error: " + path +
            ": claims 100000 x 100000 pixels; the limits are 16384 a side and 67108864 in all");
  CHECK(error(bmp_bytes(tiny, 16385, 1)).find("claims 16385 x 1 ") != std::string::npos);
  CHECK(error(bmp_bytes(tiny, 1, 16385)).find("claims 1 x 16385 ") != std::string::npos);
  CHECK(error(bmp_bytes(tiny, 8192, 8193)).find("claims 8192 x 8193 ") != std::string::npos);
  CHECK(error(bmp_bytes(tiny, 8192, 8192)).find("ended early") != std::string::npos);
  CHECK(error(bmp_bytes(tiny, 0, 1)).starts_with("runtime_error: " + path));

  Bytes png = kPng;  // the width is big-endian at 16, the height at 20
  for (const std::size_t at : {16, 20}) png[at + 1] = 0x01, png[at + 2] = 0x86, png[at + 3] = 0xa0;
  CHECK(error(png).find("more than 16384 pixels a side") != std::string::npos);
}

TEST_CASE("image: what is no image") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.jpg";
  CHECK(error_of([&] { decode_image(path); }).starts_with("runtime_error: " + path));
  save(path, {});
  CHECK(error_of([&] { decode_image(path); }) == "runtime_error: " + path + ": is empty");
  save(path, {'G', 'I', 'F', '8', '9', 'a', 1, 0, 1, 0, 0, 0, 0});
  CHECK(error_of([&] { decode_image(path); }).find("not a JPEG, PNG or BMP") != std::string::npos);
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  CHECK(error_of([&] { decode_image(path); }) == "runtime_error: " + path + ": is a folder, not a file");
}

TEST_CASE("image: make_image") {
  CHECK(make_image(2, 3).rgb == Bytes(18, 0));
  CHECK(error_of([] { make_image(0, 3); }).starts_with("invalid_argument: [image] 0 x 3"));
  CHECK(error_of([] { make_image(3, -1); }).starts_with("invalid_argument: [image] 3 x -1"));
  CHECK(error_of([] { make_image(1 << 14, (1 << 12) + 1); }).starts_with("invalid_argument"));
}

TEST_CASE("image: extensions") {
  for (const char* name : {"a.jpg", "a.JPEG", "dir.x/a.b.Png", "a.bmp"}) CHECK(has_image_extension(name));
  for (const char* name : {"a.gif", "jpg", ".jpg", "a.jpg.txt", "", "a.jp", "a_png"})
    CHECK_FALSE(has_image_extension(name));
}
