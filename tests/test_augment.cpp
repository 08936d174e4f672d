// Random crops and flips: bounds, frequencies, what the seed decides, and that nothing else happens to a
// pixel.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "data/augment.h"
#include "tests/image_files.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

constexpr Augment kNoCrop{.min_area = 1, .max_area = 1, .min_ratio = 1, .max_ratio = 1, .flip = false};

Tensor mirrored(const Tensor& x) {
  Tensor y(x.shape());
  const std::int64_t width = x.dim(-1);
  for (std::int64_t i = 0; i < x.size(); ++i) y[i] = x[i - i % width + (width - 1 - i % width)];
  return y;
}

bool operator==(const Box& a, const Box& b) {
  return a.left == b.left && a.top == b.top && a.width == b.width && a.height == b.height;
}

}  // namespace

TEST_CASE("augment: the whole of a square image is what preprocess makes of it") {
  const Image image = random_image(24, 24, 1);
  const Preprocess options{.res = 24, .mean = {0.1, 0.2, 0.3}, .std = {0.5, 0.25, 2}, .bgr = true};
  for (std::uint64_t seed = 0; seed < 5; ++seed)
    CHECK(difference(augment(image, options, kNoCrop, seed), preprocess(image, options), 0) == "");
}

TEST_CASE("augment: the box, resized by the interpolation asked for") {
  const Image image = random_image(50, 40, 2);
  for (const Interpolation interpolation : {Interpolation::kBilinear, Interpolation::kBicubic}) {
    const Preprocess options{.res = 16, .resize = 20, .interpolation = interpolation};
    const Box box = random_box(50, 40, {}, 7);
    Image expected = make_image(box.width, box.height);
    for (int y = 0; y < box.height; ++y)
      for (int x = 0; x < 3 * box.width; ++x) expected.row(y)[x] = image.row(box.top + y)[3 * box.left + x];
    CHECK(difference(augment(image, options, {.flip = false}, 7),
                     image_to_tensor(resize(expected, 16, 16, interpolation), options), 0) == "");
  }
}

TEST_CASE("augment: half of the seeds flip, exactly") {
  const Image image = random_image(13, 9, 3);
  const Preprocess options{.res = 7};
  int flips = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    const Tensor plain = augment(image, options, {.flip = false}, seed);
    const Tensor x = augment(image, options, {}, seed);
    const bool flipped = difference(x, plain, 0) != "";
    if (flipped) REQUIRE(difference(x, mirrored(plain), 0) == "");
    flips += flipped;
  }
  CHECK(std::abs(flips - 500) < 4 * std::sqrt(250.0));  // four standard deviations
}

TEST_CASE("augment: the seed decides, nothing else") {
  const Image image = random_image(30, 20, 4);
  const Preprocess options{.res = 8};
  CHECK(difference(augment(image, options, {}, 5), augment(image, options, {}, 5), 0) == "");
  CHECK(difference(augment(image, options, {}, 5), augment(image, options, {}, 6), 0) != "");
}

TEST_CASE("augment: areas and ratios fill their bounds, places the image") {
  const int width = 500, height = 400;
  const Augment bounds{};
  double least = 1, most = 0, flattest = 9, widest = 0, log_ratios = 0;
  int at_left = 0, at_right = 0, at_top = 0, at_bottom = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const Box box = random_box(width, height, bounds, seed);
    REQUIRE(box.left >= 0);
    REQUIRE(box.top >= 0);
    REQUIRE(box.left + box.width <= width);
    REQUIRE(box.top + box.height <= height);
    const double area = double(box.width) * box.height / (width * height);
    const double ratio = double(box.width) / box.height;
    least = std::min(least, area), most = std::max(most, area);
    flattest = std::min(flattest, ratio), widest = std::max(widest, ratio);
    log_ratios += area < 0.5 ? std::log(ratio) : 0;  // small boxes of all ratios fit: no bias by the tries
    at_left += box.left<5, at_right += box.left + box.width> width - 5;
    at_top += box.top<5, at_bottom += box.top + box.height> height - 5;
  }
  // Sides are rounded by at most 1/2 of some 250 pixels.
  CHECK(least > 0.35 * 0.995);
  CHECK(least < 0.36);
  CHECK(most <= 1);
  CHECK(most > 0.93);
  CHECK(flattest > 0.75 * 0.995);
  CHECK(flattest < 0.76);
  CHECK(widest < 4.0 / 3 * 1.005);
  CHECK(widest > 1.31);
  CHECK(std::abs(log_ratios) < 4 * 0.17 * std::sqrt(600.0));  // log(4/3) / sqrt(3) = 0.17; some 500 boxes
  for (const int count : {at_left, at_right, at_top, at_bottom}) CHECK(count > 30);
}

TEST_CASE("augment: images too thin for any box give the largest one in the middle") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    CHECK(random_box(1000, 30, {}, seed) == Box{480, 0, 40, 30});
    CHECK(random_box(30, 1000, {}, seed) == Box{0, 480, 30, 40});
    CHECK(random_box(1, 5000, {}, seed) == Box{0, 2499, 1, 1});
    CHECK(random_box(1, 1, {}, seed) == Box{0, 0, 1, 1});
    CHECK(random_box(64, 64, kNoCrop, seed) == Box{0, 0, 64, 64});
  }
  CHECK(augment(random_image(1000, 3, 5), {.res = 8}, {}, 1).shape() == Shape{1, 3, 8, 8});
}

TEST_CASE("augment: errors") {
  const Image image = random_image(8, 8, 6);
  const auto error = [&](const Augment& bounds) {
    return error_of([&] { augment(image, {.res = 8}, bounds, 1); });
  };
  CHECK(error({.min_area = 0}) == "invalid_argument: [augment] areas 0 .. 1 are not within (0, 1]");
  CHECK(error({.max_area = 1.01}).starts_with("invalid_argument: [augment] areas"));
  CHECK(error({.min_area = 0.6, .max_area = 0.5}).starts_with("invalid_argument: [augment] areas"));
  CHECK(error({.min_area = std::nan("")}).starts_with("invalid_argument: [augment] areas"));
  CHECK(error({.min_ratio = 0}).starts_with("invalid_argument: [augment] ratios 0"));
  CHECK(error({.min_ratio = 2}).starts_with("invalid_argument: [augment] ratios 2"));
  CHECK(error({.max_ratio = double(INFINITY)}).starts_with("invalid_argument: [augment] ratios"));
  CHECK(
      error_of([&] { augment(image, {.res = 0}, {}, 1); }).starts_with("invalid_argument: [preprocess] res"));
  CHECK(error_of([] { random_box(0, 4, {}, 1); }) == "invalid_argument: [augment] image of 0 x 4");
  CHECK(error_of([&] { image_to_tensor(image, {.res = 9}); }) ==
        "invalid_argument: [preprocess] image of 8 x 8 for a res of 9");
  const auto crop_error = [&](const Box& box) { return error_of([&] { crop(image, box); }); };
  CHECK(crop_error({3, 4, 5, 4}) == "no error");
  for (const Box& box :
       {Box{4, 0, 5, 1}, Box{0, 5, 1, 4}, Box{-1, 0, 2, 2}, Box{0, -1, 2, 2}, Box{0, 0, 0, 1}})
    CHECK(crop_error(box).starts_with("invalid_argument: [crop]"));
}
