#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <functional>

#include "data/resize.h"
#include "tensor/rng.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

constexpr auto kBilinear = Interpolation::kBilinear;
constexpr auto kBicubic = Interpolation::kBicubic;
using Levels = std::vector<int>;

/// Grey levels as an image, and the green of an image as levels.
Image grey(int width, int height, const Levels& levels) {
  Image image = make_image(width, height);
  for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = std::uint8_t(levels[i / 3]);
  return image;
}

Levels levels_of(const Image& image) {
  Levels levels;
  for (std::size_t i = 1; i < image.rgb.size(); i += 3) levels.push_back(image.rgb[i]);
  return levels;
}

Image random_image(int width, int height, std::uint64_t seed) {
  Image image = make_image(width, height);
  for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = std::uint8_t(random_bits(seed, i));
  return image;
}

/// One output value of a line of `n` inputs, by the definition: every input weighted, in double.
double filtered(const std::function<double(int)>& in, int n, double center, double stretch,
                Interpolation interpolation) {
  const auto f = [&](double t) {
    t = std::abs(t);
    if (interpolation == kBilinear) return t < 1 ? 1 - t : 0;
    if (t < 1) return 1.5 * t * t * t - 2.5 * t * t + 1;
    return t < 2 ? -0.5 * t * t * t + 2.5 * t * t - 4 * t + 2 : 0;
  };
  double sum = 0, weights = 0;
  for (int i = 0; i < n; ++i) {
    const double w = f((i + 0.5 - center) / stretch);
    sum += w * in(i);
    weights += w;
  }
  return std::clamp(sum / weights, 0.0, 255.0);
}

/// The largest |image - reference|, the reference's second pass reading the first one's rounded result.
double error_to_reference(const Image& src, int width, int height, Interpolation interpolation) {
  const Image rows = resize(src, width, src.height, interpolation);
  const Image both = resize(src, width, height, interpolation);
  const double rx = double(src.width) / width, ry = double(src.height) / height;
  double worst = 0;
  for (int c = 0; c < 3; ++c)
    for (int x = 0; x < width; ++x) {
      for (int y = 0; y < src.height; ++y) {
        const auto in = [&](int i) { return double(src.row(y)[3 * i + c]); };
        const double expected = filtered(in, src.width, (x + 0.5) * rx, std::max(rx, 1.0), interpolation);
        worst = std::max(worst, std::abs(rows.row(y)[3 * x + c] - expected));
      }
      for (int y = 0; y < height; ++y) {
        const auto in = [&](int i) { return double(rows.row(i)[3 * x + c]); };
        const double expected = filtered(in, src.height, (y + 0.5) * ry, std::max(ry, 1.0), interpolation);
        worst = std::max(worst, std::abs(both.row(y)[3 * x + c] - expected));
      }
    }
  return worst;
}

}  // namespace

TEST_CASE("resize: by hand") {
  // Enlarged twice, the new pixels lie 1/4 and 3/4 from the old ones. Bilinear: 3/4 and 1/4 of 255, or 191.25
  // and 63.75. Bicubic: f(1/4) = 0.8671875, f(3/4) = 0.2265625, f(5/4) = -0.0703125, f(7/4) = -0.0234375, so
  // that 255 (f(3/4) + f(7/4)) = 51.8 and 255 (f(1/4) + f(5/4)) = 203.2, and 271 is clipped.
  const Image step = grey(4, 1, {0, 0, 255, 255});
  CHECK(levels_of(resize(step, 8, 1, kBilinear)) == Levels{0, 0, 0, 64, 191, 255, 255, 255});
  CHECK(levels_of(resize(step, 8, 1, kBicubic)) == Levels{0, 0, 0, 52, 203, 255, 255, 255});
  // Halved, the bilinear filter reaches 2 pixels: weights 1/8 3/8 3/8 1/8; 3 3 1 of 7 at the border.
  const Image ramp = grey(1, 6, {0, 40, 80, 120, 160, 200});
  CHECK(levels_of(resize(ramp, 1, 3, kBilinear)) == Levels{29, 100, 171});  // 200/7, 100, 1200/7
}

TEST_CASE("resize: an impulse lands where the filter says, the same in rows and columns") {
  const Levels impulse{0, 0, 0, 255, 0, 0, 0};
  for (const bool column : {false, true}) {
    const auto resized = [&](int size, Interpolation interpolation) {
      const Image src = column ? grey(1, 7, impulse) : grey(7, 1, impulse);
      return levels_of(resize(src, column ? 1 : size, column ? size : 1, interpolation));
    };
    CHECK(resized(14, kBilinear) == Levels{0, 0, 0, 0, 0, 64, 191, 191, 64, 0, 0, 0, 0, 0});
    CHECK(resized(14, kBicubic) == Levels{0, 0, 0, 0, 0, 58, 221, 221, 58, 0, 0, 0, 0, 0});
    CHECK(resized(3, kBilinear) == Levels{0, 105, 0});
    CHECK(resized(3, kBicubic) == Levels{0, 107, 0});
  }
}

TEST_CASE("resize: the same bytes as Pillow 9.4") {
  Levels levels;
  for (int i = 0; i < 20; ++i) levels.push_back((i * 37 + i * i * 11) % 256);
  const Image src = grey(5, 4, levels);
  CHECK(levels_of(resize(src, 3, 7, kBilinear)) == Levels{21, 123, 129, 71,  112, 159, 152,
                                                          94, 208, 179, 138, 148, 192, 183,
                                                          82, 171, 176, 90,  157, 172, 95});
  CHECK(levels_of(resize(src, 8, 2, kBilinear)) ==
        Levels{115, 106, 95, 96, 128, 188, 159, 131, 202, 173, 140, 181, 172, 112, 106, 106});
  CHECK(levels_of(resize(src, 3, 7, kBicubic)) == Levels{4,   133, 125, 57, 113, 163, 151, 85,  217, 191, 134,
                                                         151, 199, 187, 73, 172, 180, 85,  154, 172, 98});
  CHECK(levels_of(resize(src, 8, 2, kBicubic)) ==
        Levels{111, 102, 91, 80, 121, 200, 167, 130, 215, 179, 141, 197, 184, 102, 96, 105});
}

TEST_CASE("resize: constants stay, linear ramps stay linear inside") {
  for (const Interpolation interpolation : {kBilinear, kBicubic}) {
    for (const int level : {0, 1, 127, 254, 255})
      CHECK(levels_of(resize(grey(5, 3, Levels(15, level)), 11, 2, interpolation)) == Levels(22, level));

    Levels ramp(32);
    for (int i = 0; i < 32; ++i) ramp[std::size_t(i)] = 8 * i + 4;  // 8 times the place of the pixel's centre
    const Levels larger = levels_of(resize(grey(32, 1, ramp), 64, 1, interpolation));
    for (int x = 4; x < 60; ++x) CHECK(larger[std::size_t(x)] == 4 * x + 2);
    const Levels smaller = levels_of(resize(grey(32, 1, ramp), 8, 1, interpolation));
    for (int x = 2; x < 6; ++x) CHECK(smaller[std::size_t(x)] == 32 * x + 16);
  }
}

TEST_CASE("resize: random sizes against the definition in double") {
  // Each pass rounds to the nearest level, 1/2; weights that are off by 2^-23 each, for at most 4 * 60 taps
  // of at most 255, add less than 0.01.
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const auto size = [&](std::uint64_t i) { return 1 + int(random_below(seed, i, 60)); };
    const Image src = random_image(size(0), size(1), seed);
    const int width = size(2), height = size(3);
    CAPTURE(seed);
    CHECK(error_to_reference(src, width, height, kBilinear) < 0.51);
    CHECK(error_to_reference(src, width, height, kBicubic) < 0.51);
  }
}

TEST_CASE("resize: colours do not mix, the same size changes nothing") {
  const Image src = random_image(9, 6, 3);
  CHECK(resize(src, 9, 6, kBicubic).rgb == src.rgb);
  Image red = src;
  for (std::size_t i = 0; i < red.rgb.size(); ++i)
    if (i % 3 != 0) red.rgb[i] = 0;
  const Image resized = resize(src, 5, 8, kBicubic), resized_red = resize(red, 5, 8, kBicubic);
  CHECK(resized.width == 5);
  CHECK(resized.height == 8);
  for (std::size_t i = 0; i < resized.rgb.size(); ++i)
    CHECK(int(resized_red.rgb[i]) == (i % 3 == 0 ? resized.rgb[i] : 0));
}

TEST_CASE("resize: errors") {
  const Image src = random_image(4, 4, 1);
  CHECK(error_of([&] { resize(src, 0, 4, kBicubic); }) == "invalid_argument: [resize] 4 x 4 to 0 x 4");
  CHECK(error_of([&] { resize(src, 4, -1, kBicubic); }) == "invalid_argument: [resize] 4 x 4 to 4 x -1");
  CHECK(error_of([&] { resize(src, 1 << 20, 1 << 20, kBicubic); }).starts_with("invalid_argument: [resize]"));
  CHECK(error_of([&] {
          ResizedRows(src, 8, 8, kBicubic, {1, 0, 8, 8});
        }) == "invalid_argument: [resize] 8 x 8 from column 1, row 0 of an image of 8 x 8");
  CHECK(error_of([&] { resize(Image{}, 4, 4, kBicubic); }).starts_with("invalid_argument: [resize] 0 bytes"));
  CHECK(error_of([&] { resize(Image{4, 4, {1, 2}}, 4, 4, kBicubic); }).starts_with("invalid_argument"));
}

TEST_CASE("resize: rows of a part are those of the whole image") {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const auto draw = [&](std::uint64_t i, int count) {
      return int(random_below(seed, i, std::uint32_t(count)));
    };
    const Image src = random_image(1 + draw(0, 40), 1 + draw(1, 40), seed);
    // Every third one keeps its width, every fourth one its height: such a pass is skipped.
    const int width = seed % 3 ? 1 + draw(2, 40) : src.width,
              height = seed % 4 ? 1 + draw(3, 40) : src.height;
    const int left = draw(4, width), top = draw(5, height);
    const Box box{left, top, 1 + draw(6, width - left), 1 + draw(7, height - top)};
    const Image expected = crop(resize(src, width, height, kBicubic), box);
    const ResizedRows rows(src, width, height, kBicubic, box);
    Image part = make_image(box.width, box.height);
    for (int y = box.height - 1; y >= 0; --y) rows.get(y, part.row(y));
    CAPTURE(seed);
    CHECK(part.rgb == expected.rgb);
  }
}

TEST_CASE("center_box: offsets are rounded half to even") {
  Levels levels(10);
  for (int i = 0; i < 10; ++i) levels[std::size_t(i)] = i;
  // margin:       0  1  2  3  4  5  6  7  8  9
  const int offset[]{0, 0, 1, 2, 2, 2, 3, 4, 4, 4};
  for (int margin = 0; margin < 10; ++margin) {
    const Levels expected(levels.begin() + offset[margin], levels.begin() + offset[margin] + 10 - margin);
    CHECK(levels_of(crop(grey(10, 1, levels), center_box(10, 1, 10 - margin, 1))) == expected);
    CHECK(levels_of(crop(grey(1, 10, levels), center_box(1, 10, 1, 10 - margin))) == expected);
  }
  CHECK(levels_of(crop(grey(3, 3, {0, 1, 2, 3, 4, 5, 6, 7, 8}), center_box(3, 3, 2, 1))) == Levels{3, 4});
}

TEST_CASE("center_box: errors") {
  CHECK(error_of([&] { center_box(4, 6, 5, 6); }) ==
        "invalid_argument: [center_box] 5 x 6 of an image of 4 x 6");
  CHECK(error_of([&] { center_box(4, 6, 4, 7); }).starts_with("invalid_argument: [center_box] 4 x 7"));
  CHECK(error_of([&] { center_box(4, 6, 0, 1); }).starts_with("invalid_argument"));
}
