#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <limits>

#include "data/dataset.h"
#include "data/preprocess.h"
#include "tensor/rng.h"
#include "tensor/safetensors.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

Image random_image(int width, int height, std::uint64_t seed) {
  Image image = make_image(width, height);
  for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = std::uint8_t(random_bits(seed, i));
  return image;
}

std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

TEST_CASE("preprocess: every level is the nearest number to level / 255") {
  Image image = make_image(16, 16);
  for (std::size_t i = 0; i < 256; ++i) image.rgb[3 * i] = image.rgb[3 * i + 2] = std::uint8_t(i);
  const Tensor x = preprocess(image, {.res = 16});
  REQUIRE(x.shape() == Shape{1, 3, 16, 16});
  for (int i = 0; i < 256; ++i) {
    CHECK(x[i] == real(i) / real(255));
    CHECK(x[256 + i] == 0);
    CHECK(x[512 + i] == real(i) / real(255));
  }
}

TEST_CASE("preprocess: mean and std belong to their colours, bgr turns the planes round") {
  Image image = make_image(1, 1);
  image.rgb = {51, 102, 255};
  Preprocess options{.res = 1, .mean = {0.1, 0.2, 0.3}, .std = {0.5, 0.25, 2}};
  const Tensor expected({1, 3, 1, 1}, std::vector<real>{real(0.2), real(0.8), real(0.35)});
  CHECK(difference(preprocess(image, options), expected, 1e-7) == "");
  options.bgr = true;
  const Tensor reversed({1, 3, 1, 1}, std::vector<real>{real(0.35), real(0.8), real(0.2)});
  CHECK(difference(preprocess(image, options), reversed, 1e-7) == "");
}

TEST_CASE("preprocess: shorter side, then the middle") {
  const struct {
    int width, height, resize, resized_width, resized_height;
  } cases[]{
      {40, 30, 24, 32, 24},  // exact
      {50, 33, 20, 30, 20},  // 30.3
      {33, 50, 20, 20, 30},  //
      {29, 17, 17, 29, 17},  // already there
      {19, 10, 25, 47, 25},  // enlarged: 47.5
      {10, 19, 0, 16, 30},   // resize 0 is res: 30.4
  };
  std::uint64_t seed = 0;
  for (const auto& c : cases) {
    const Image image = random_image(c.width, c.height, ++seed);
    for (const Interpolation interpolation : {Interpolation::kBilinear, Interpolation::kBicubic}) {
      const Image middle = crop(resize(image, c.resized_width, c.resized_height, interpolation),
                                center_box(c.resized_width, c.resized_height, 16, 16));
      const Tensor x = preprocess(image, {.res = 16, .resize = c.resize, .interpolation = interpolation});
      Tensor expected({1, 3, 16, 16});
      for (int y = 0; y < 16; ++y)
        for (int column = 0; column < 16; ++column)
          for (int colour = 0; colour < 3; ++colour)
            expected.at({0, colour, y, column}) = real(middle.row(y)[3 * column + colour] / 255.0);
      CAPTURE(c.width);
      CHECK(difference(x, expected, 0) == "");
    }
  }
}

TEST_CASE("preprocess: errors") {
  const Image image = random_image(8, 8, 1);
  const auto error = [&](const Preprocess& options) { return error_of([&] { preprocess(image, options); }); };
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(error({.res = 16, .resize = 15}) == "invalid_argument: [preprocess] resize 15 is below res 16");
  CHECK(error({.res = 0}).starts_with("invalid_argument: [preprocess] res 0"));
  CHECK(error({.res = 16, .resize = -1}).starts_with("invalid_argument"));
  CHECK(error({.res = 16, .std = {1, 0, 1}}).starts_with("invalid_argument: [preprocess] mean 0, std 0"));
  CHECK(error({.res = 16, .std = {1, 1, -1}}).starts_with("invalid_argument"));
  CHECK(error({.res = 16, .std = {inf, 1, 1}}).starts_with("invalid_argument"));
  CHECK(error({.res = 16, .mean = {1, 1, std::nan("")}}).starts_with("invalid_argument"));
  CHECK(error_of([] { preprocess(Image{}, {}); }).starts_with("invalid_argument: [preprocess] image of 0"));
  const Image line = make_image(1, 16384);
  CHECK(error_of([&] { preprocess(line, {}); }).find("too long and thin") != std::string::npos);
}

TEST_CASE("preprocess: resize_for_crop is timm's") {
  CHECK(resize_for_crop(256, 0.9) == 284);
  CHECK(resize_for_crop(256, 0.888) == 288);
  CHECK(resize_for_crop(224, 0.875) == 256);
  CHECK(resize_for_crop(256, 1) == 256);
  for (const double crop_pct : {0.0, -0.5, 1.0001, std::nan("")})
    CHECK(error_of([&] { resize_for_crop(256, crop_pct); }).find("is not in (0, 1]") != std::string::npos);
  CHECK(error_of([] { resize_for_crop(256, 1e-9); }).starts_with("invalid_argument"));
  CHECK(error_of([] { resize_for_crop(0, 1); }).starts_with("invalid_argument"));
}

TEST_CASE("preprocess: photographs, decoded and resized, against Pillow") {
  const auto golden = shared_path("golden/photo121_golden.safetensors");
  const auto photographs = shared_path("images/photo121/val");
  if (!golden || !photographs) return;
  const TensorFile file = read_safetensors(*golden);
  const RawTensor& expected = file.tensors.at("images_u8");
  REQUIRE(expected.dtype == DType::kU8);
  REQUIRE(expected.shape == Shape{16, 3, 256, 256});

  std::vector<Sample> samples = open_folder(*photographs).samples;
  std::sort(samples.begin(), samples.end(),
            [](const Sample& a, const Sample& b) { return file_name(a.path) < file_name(b.path); });
  // The resize is exact, so what is left is the JPEG decoders' difference: a level here and there.
  const std::size_t size = 3 * 256 * 256;
  double sum = 0, worst_image = 0, worst = 0;
  for (std::size_t i = 0; i < 16; ++i) {
    const Tensor x = preprocess(decode_image(samples[i].path), {.res = 256, .resize = 256});
    double image_sum = 0;
    for (std::size_t k = 0; k < size; ++k) {
      const double level = double(std::to_integer<int>(expected.bytes[i * size + k]));
      const double error = std::abs(double(x[std::int64_t(k)]) * 255 - level);
      image_sum += error;
      worst = std::max(worst, error);
    }
    sum += image_sum;
    worst_image = std::max(worst_image, image_sum / double(size));
  }
  MESSAGE("mean absolute difference in levels: ", sum / double(16 * size), ", of the worst image ",
          worst_image, ", largest ", worst);
  CHECK(sum / double(16 * size) < 1);
}
