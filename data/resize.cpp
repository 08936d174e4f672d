#include "data/resize.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"

namespace qhv {
namespace {

constexpr int kFractionBits = 22;  // 8 bits of value, 2 bits for overshoot and sign, 32 in all
constexpr std::int32_t kHalf = 1 << (kFractionBits - 1);

double bilinear(double t) { return std::max(0.0, 1.0 - std::abs(t)); }

double bicubic(double t) {
  constexpr double a = -0.5;
  t = std::abs(t);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  if (t < 2) return (((t - 5) * t + 8) * t - 4) * a;
  return 0;
}

/// What one output pixel is made of: the inputs first, first + 1, ..., each with its weight times 2^22.
struct Taps {
  int first;
  std::vector<std::int32_t> weights;
};

std::vector<Taps> make_taps(int in, int out, Interpolation interpolation) {
  const auto filter = interpolation == Interpolation::kBilinear ? bilinear : bicubic;
  const double ratio = double(in) / out;
  const double stretch = std::max(ratio, 1.0);
  const double support = (interpolation == Interpolation::kBilinear ? 1 : 2) * stretch;

  std::vector<Taps> taps(std::size_t(out), Taps{});
  std::vector<double> weights;
  for (int x = 0; x < out; ++x) {
    const double center = (x + 0.5) * ratio;
    const int first = std::max(int(center - support + 0.5), 0);
    const int end = std::min(int(center + support + 0.5), in);
    weights.clear();
    double sum = 0;
    for (int i = first; i < end; ++i) {
      weights.push_back(filter((i - center + 0.5) * (1 / stretch)));
      sum += weights.back();
    }
    taps[std::size_t(x)].first = first;
    for (const double w : weights)
      taps[std::size_t(x)].weights.push_back(std::int32_t(std::round(w / sum * (1 << kFractionBits))));
  }
  return taps;
}

std::uint8_t to_u8(std::int32_t acc) { return std::uint8_t(std::clamp(acc >> kFractionBits, 0, 255)); }

Image resize_rows(const Image& src, int width, Interpolation interpolation) {
  const std::vector<Taps> taps = make_taps(src.width, width, interpolation);
  Image dst = make_image(width, src.height);
  for (int y = 0; y < src.height; ++y) {
    std::uint8_t* out = dst.row(y);
    for (const Taps& tap : taps) {
      const std::uint8_t* in = src.row(y) + 3 * tap.first;
      std::int32_t red = kHalf, green = kHalf, blue = kHalf;
      for (const std::int32_t w : tap.weights) {
        red += w * in[0];
        green += w * in[1];
        blue += w * in[2];
        in += 3;
      }
      *out++ = to_u8(red);
      *out++ = to_u8(green);
      *out++ = to_u8(blue);
    }
  }
  return dst;
}

Image resize_columns(const Image& src, int height, Interpolation interpolation) {
  const std::vector<Taps> taps = make_taps(src.height, height, interpolation);
  Image dst = make_image(src.width, height);
  std::vector<std::int32_t> acc(std::size_t(3) * std::size_t(src.width));
  for (int y = 0; y < height; ++y) {
    const Taps& tap = taps[std::size_t(y)];
    std::fill(acc.begin(), acc.end(), kHalf);
    for (std::size_t k = 0; k < tap.weights.size(); ++k) {
      const std::uint8_t* in = src.row(tap.first + int(k));
      const std::int32_t w = tap.weights[k];
      for (std::size_t i = 0; i < acc.size(); ++i) acc[i] += w * in[i];
    }
    std::transform(acc.begin(), acc.end(), dst.row(y), to_u8);
  }
  return dst;
}

void check_image(const Image& image, const char* op) {
  require(image.width > 0 && image.height > 0 &&
              image.rgb.size() == std::size_t(3) * std::size_t(image.width) * std::size_t(image.height),
          op, image.rgb.size(), " bytes for an image of ", image.width, " x ", image.height);
}

/// n / 2 rounded half to even, as Python's round(n / 2.0).
int half_to_even(int n) {
  const int floor = n / 2;
  return floor + (n & floor & 1);
}

}  // namespace

Image resize(const Image& image, int width, int height, Interpolation interpolation) {
  check_image(image, "resize");
  require(width > 0 && height > 0 && std::int64_t(width) * height <= kMaxImagePixels, "resize", image.width,
          " x ", image.height, " to ", width, " x ", height);
  Image result = width == image.width ? image : resize_rows(image, width, interpolation);
  return height == image.height ? result : resize_columns(result, height, interpolation);
}

Image crop(const Image& image, const Box& box) {
  check_image(image, "crop");
  require(box.left >= 0 && box.top >= 0 && box.width > 0 && box.height > 0 &&
              box.width <= image.width - box.left && box.height <= image.height - box.top,
          "crop", box.width, " x ", box.height, " from column ", box.left, ", row ", box.top,
          " of an image of ", image.width, " x ", image.height);
  Image result = make_image(box.width, box.height);
  for (int y = 0; y < box.height; ++y)
    std::copy_n(image.row(box.top + y) + 3 * box.left, 3 * box.width, result.row(y));
  return result;
}

Image center_crop(const Image& image, int width, int height) {
  check_image(image, "center_crop");
  require(width > 0 && height > 0 && width <= image.width && height <= image.height, "center_crop", width,
          " x ", height, " of an image of ", image.width, " x ", image.height);
  return crop(image, {half_to_even(image.width - width), half_to_even(image.height - height), width, height});
}

}  // namespace qhv
