#include "data/resize.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"
#include "tensor/vectorize.h"

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

using Pixel [[gnu::vector_size(16)]] = std::int32_t;  // red, green, blue, and nothing

/// One row of pixels from `in`, whose bytes lie side by side; `row` has room for them as vectors.
QHV_VECTORIZE void weigh_pixels(const std::uint8_t* in, Pixel* row, int width, const std::vector<Taps>& taps,
                                std::uint8_t* out) {
  for (int x = 0; x < width; ++x) row[x] = Pixel{in[3 * x], in[3 * x + 1], in[3 * x + 2]};
  for (const Taps& tap : taps) {
    const Pixel* pixel = row + tap.first;
    Pixel sum = Pixel{} + kHalf;
    for (const std::int32_t weight : tap.weights) sum += weight * *pixel++;
    sum >>= kFractionBits;
    sum = sum < 0 ? Pixel{} : sum;
    sum = sum > 255 ? Pixel{} + 255 : sum;
    for (int c = 0; c < 3; ++c) *out++ = std::uint8_t(sum[c]);
  }
}

QHV_VECTORIZE void add_row(std::int32_t weight, const std::uint8_t* in, std::size_t count,
                           std::int32_t* sums) {
  for (std::size_t i = 0; i < count; ++i) sums[i] += weight * in[i];
}

QHV_VECTORIZE void store_row(const std::int32_t* sums, std::size_t count, std::uint8_t* out) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t value = sums[i] >> kFractionBits, floored = value < 0 ? 0 : value;
    out[i] = std::uint8_t(floored > 255 ? 255 : floored);
  }
}

Image resize_rows(const Image& src, int width, Interpolation interpolation) {
  const std::vector<Taps> taps = make_taps(src.width, width, interpolation);
  Image dst = make_image(width, src.height);
  std::vector<Pixel> row(std::size_t(src.width), Pixel{});
  for (int y = 0; y < src.height; ++y) weigh_pixels(src.row(y), row.data(), src.width, taps, dst.row(y));
  return dst;
}

Image resize_columns(const Image& src, int height, Interpolation interpolation) {
  const std::vector<Taps> taps = make_taps(src.height, height, interpolation);
  Image dst = make_image(src.width, height);
  std::vector<std::int32_t> sums(std::size_t(3) * std::size_t(src.width), 0);
  for (int y = 0; y < height; ++y) {
    const Taps& tap = taps[std::size_t(y)];
    std::fill(sums.begin(), sums.end(), kHalf);
    for (std::size_t k = 0; k < tap.weights.size(); ++k)
      add_row(tap.weights[k], src.row(tap.first + int(k)), sums.size(), sums.data());
    store_row(sums.data(), sums.size(), dst.row(y));
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
