#include "data/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/check.h"
#include "tensor/kernels/aligned.h"
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

// Vectors for pixels and bytes; wider than the CPU's where it has no AVX-512.
using Lanes [[gnu::vector_size(64)]] = std::int32_t;
using Bytes [[gnu::vector_size(16)]] = std::uint8_t;
using Halves [[gnu::vector_size(32)]] = std::uint16_t;
using Words [[gnu::vector_size(16)]] = std::uint32_t;

constexpr int kRows = 4;  // that are weighed together: their pixels in one column fill the lanes

struct Side {
  int in, out;  // pixels
};

/// Those of pixels begin .. begin + count - 1 of the output.
ResizedRows::Taps make_taps(const Side& side, Interpolation interpolation, int begin, int count) {
  const auto filter = interpolation == Interpolation::kBilinear ? bilinear : bicubic;
  const double ratio = double(side.in) / side.out;
  const double stretch = std::max(ratio, 1.0);
  const double support = (interpolation == Interpolation::kBilinear ? 1 : 2) * stretch;

  ResizedRows::Taps taps;
  taps.pixels.reserve(std::size_t(count));
  taps.weights.reserve(std::size_t(count) * std::size_t(2 * support + 2));
  std::vector<double> weights;
  for (int x = begin; x < begin + count; ++x) {
    const double center = (x + 0.5) * ratio;
    const int first = std::max(int(center - support + 0.5), 0);
    const int end = std::min(int(center + support + 0.5), side.in);
    weights.clear();
    double sum = 0;
    for (int i = first; i < end; ++i) {
      weights.push_back(filter((i - center + 0.5) * (1 / stretch)));
      sum += weights.back();
    }
    taps.pixels.push_back({first, end - first, taps.weights.size()});
    for (const double w : weights)
      taps.weights.push_back(std::int32_t(std::round(w / sum * (1 << kFractionBits))));
  }
  return taps;
}

/// kRows rows of pixels from rows of `width` pixels, of which the first is number `left` to the taps;
/// `pixels` has room for a row. Pixels are read and written with the byte behind them, but for the last one.
QHV_VECTORIZE void weigh_pixels(const std::uint8_t* const* in, int left, int width, Lanes* pixels,
                                const ResizedRows::Taps& taps, std::uint8_t* const* out) {
  const int last = width - 1;
  for (int x = 0; x < last; ++x) {
    std::uint32_t pixel[kRows];
    for (int r = 0; r < kRows; ++r) std::memcpy(&pixel[r], in[r] + 3 * x, 4);
    // By way of 16 bits: GCC takes the bytes one by one otherwise.
    const auto halves = __builtin_convertvector(Bytes(Words{pixel[0], pixel[1], pixel[2], pixel[3]}), Halves);
    pixels[x] = __builtin_convertvector(halves, Lanes);
  }
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < 3; ++c) pixels[last][4 * r + c] = in[r][3 * last + c];

  const std::size_t count = taps.pixels.size();
  for (std::size_t x = 0; x < count; ++x) {
    const ResizedRows::Tap& tap = taps.pixels[x];
    const std::int32_t* weights = taps.weights.data() + tap.weights;
    const Lanes* pixel = pixels + (tap.first - left);
    Lanes sum = Lanes{} + kHalf;
    for (int k = 0; k < tap.count; ++k) sum += weights[k] * pixel[k];
    sum >>= kFractionBits;
    sum = sum < 0 ? Lanes{} : sum;
    sum = sum > 255 ? Lanes{} + 255 : sum;
    const Words words = Words(__builtin_convertvector(sum, Bytes));
    for (int r = 0; r < kRows; ++r) {
      const std::uint32_t word = words[r];
      if (x + 1 < count)
        std::memcpy(out[r] + 3 * x, &word, 4);
      else
        std::memcpy(out[r] + 3 * x, &word, 3);
    }
  }
}

/// A row of `size` bytes from `count` rows that are `stride` bytes apart.
QHV_VECTORIZE void weigh_rows(const std::uint8_t* in, std::size_t stride, const std::int32_t* weights,
                              int count, std::size_t size, std::uint8_t* out) {
  constexpr std::size_t kLanes = sizeof(Bytes);
  std::size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    Lanes sum = Lanes{} + kHalf;
    for (int k = 0; k < count; ++k) {
      Bytes bytes;
      std::memcpy(&bytes, in + std::size_t(k) * stride + i, sizeof(bytes));
      sum += weights[k] * __builtin_convertvector(__builtin_convertvector(bytes, Halves), Lanes);
    }
    sum >>= kFractionBits;
    sum = sum < 0 ? Lanes{} : sum;
    sum = sum > 255 ? Lanes{} + 255 : sum;
    const Bytes bytes = __builtin_convertvector(sum, Bytes);
    std::memcpy(out + i, &bytes, sizeof(bytes));
  }
  for (; i < size; ++i) {
    std::int32_t sum = kHalf;
    for (int k = 0; k < count; ++k) sum += weights[k] * in[std::size_t(k) * stride + i];
    out[i] = std::uint8_t(std::clamp(sum >> kFractionBits, 0, 255));
  }
}

void check_image(const Image& image, const char* op) {
  require(image.width > 0 && image.height > 0 &&
              image.rgb.size() == std::size_t(3) * std::size_t(image.width) * std::size_t(image.height),
          op, image.rgb.size(), " bytes for an image of ", image.width, " x ", image.height);
}

void check_box(const Box& box, int width, int height, const char* op) {
  require(box.left >= 0 && box.top >= 0 && box.width > 0 && box.height > 0 && box.width <= width - box.left &&
              box.height <= height - box.top,
          op, box.width, " x ", box.height, " from column ", box.left, ", row ", box.top, " of an image of ",
          width, " x ", height);
}

/// n / 2 rounded half to even, as Python's round(n / 2.0).
int half_to_even(int n) {
  const int floor = n / 2;
  return floor + (n & floor & 1);
}

}  // namespace

ResizedRows::ResizedRows(const Image& image, int width, int height, Interpolation interpolation,
                         const Box& box)
    : size_(std::size_t(3) * std::size_t(box.width)) {
  check_image(image, "resize");
  require(width > 0 && height > 0 && std::int64_t(width) * height <= kMaxImagePixels, "resize", image.width,
          " x ", image.height, " to ", width, " x ", height);
  check_box(box, width, height, "resize");
  int top = box.top, count = box.height;  // rows of the image that are needed
  if (height != image.height) {
    taps_ = make_taps({image.height, height}, interpolation, box.top, box.height);
    const Tap& last = taps_.pixels.back();
    top = taps_.pixels.front().first;
    count = last.first + last.count - top;
    for (Tap& tap : taps_.pixels) tap.first -= top;
  }
  if (width == image.width) {
    rows_ = image.row(top) + 3 * box.left;
    stride_ = std::size_t(3) * std::size_t(width);
    return;
  }
  const Taps taps = make_taps({image.width, width}, interpolation, box.left, box.width);
  const int left = taps.pixels.front().first,
            needed = taps.pixels.back().first + taps.pixels.back().count - left;
  weighed_ = std::make_unique_for_overwrite<std::uint8_t[]>(std::size_t(count) * size_);
  rows_ = weighed_.get();
  stride_ = size_;
  Aligned<Lanes> pixels(needed);
  for (int y = 0; y < count; y += kRows) {
    const std::uint8_t* in[kRows];
    std::uint8_t* out[kRows];
    for (int r = 0; r < kRows; ++r) {
      const int row = std::min(y + r, count - 1);
      in[r] = image.row(top + row) + 3 * left;
      out[r] = weighed_.get() + std::size_t(row) * size_;
    }
    weigh_pixels(in, left, needed, pixels.data(), taps, out);
  }
}

void ResizedRows::get(int y, std::uint8_t* rgb) const {
  if (taps_.pixels.empty()) {
    std::copy_n(rows_ + std::size_t(y) * stride_, size_, rgb);
    return;
  }
  const Tap& tap = taps_.pixels[std::size_t(y)];
  weigh_rows(rows_ + std::size_t(tap.first) * stride_, stride_, taps_.weights.data() + tap.weights, tap.count,
             size_, rgb);
}

Image resize(const Image& image, int width, int height, Interpolation interpolation) {
  const ResizedRows rows(image, width, height, interpolation, {.width = width, .height = height});
  Image result = make_image(width, height);
  for (int y = 0; y < height; ++y) rows.get(y, result.row(y));
  return result;
}

Image crop(const Image& image, const Box& box) {
  check_image(image, "crop");
  check_box(box, image.width, image.height, "crop");
  Image result = make_image(box.width, box.height);
  for (int y = 0; y < box.height; ++y)
    std::copy_n(image.row(box.top + y) + 3 * box.left, 3 * box.width, result.row(y));
  return result;
}

Box center_box(int image_width, int image_height, int width, int height) {
  require(width > 0 && height > 0 && width <= image_width && height <= image_height, "center_box", width,
          " x ", height, " of an image of ", image_width, " x ", image_height);
  return {half_to_even(image_width - width), half_to_even(image_height - height), width, height};
}

}  // namespace qhv
