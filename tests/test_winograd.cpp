// Winograd convolutions. With small integers, and filters that are multiples of four, every transform is
// exact, so that the result has to be the direct sum's to the last bit.
#include <cmath>
#include <doctest/doctest.h>

#include "tensor/ops.h"
#include "tensor/winograd.h"
#include "tests/support.h"

using namespace qhv;

namespace {

Tensor integers(const Shape& shape, std::uint64_t seed, double limit, real factor) {
  Tensor t = test::random_tensor(shape, seed, -limit, limit);
  for (real& v : t.values()) v = std::round(v) * factor;
  return t;
}

Tensor channels_last(const Tensor& x) {  // [1, C, H, W] to [H, W, C]
  Tensor y({x.dim(2), x.dim(3), x.dim(1)});
  for (std::int64_t c = 0; c < x.dim(1); ++c)
    for (std::int64_t i = 0; i < x.dim(2) * x.dim(3); ++i)
      y[i * x.dim(1) + c] = x[c * x.dim(2) * x.dim(3) + i];
  return y;
}

struct Gradients {
  Tensor dx, dw;
};

/// Of a 3x3 convolution with padding 1, by its definition.
Gradients direct_gradients(const Tensor& dy, const Tensor& x, const Tensor& w) {
  Gradients g{Tensor(x.shape()), Tensor(w.shape())};
  const std::int64_t height = x.dim(2), width = x.dim(3), in = x.dim(1), out = w.dim(0);
  for (std::int64_t n = 0; n < x.dim(0); ++n)
    for (std::int64_t o = 0; o < out; ++o)
      for (std::int64_t c = 0; c < in; ++c)
        for (std::int64_t i = 0; i < height * width * 9; ++i) {
          const std::int64_t y = i / 9 / width, column = i / 9 % width, tap = i % 9, iy = y + tap / 3 - 1,
                             ix = column + tap % 3 - 1;
          if (iy < 0 || iy >= height || ix < 0 || ix >= width) continue;
          const std::int64_t from = ((n * in + c) * height + iy) * width + ix;
          const real d = dy[((n * out + o) * height + y) * width + column];
          g.dx[from] += d * w[(o * in + c) * 9 + tap];
          g.dw[(o * in + c) * 9 + tap] += d * x[from];
        }
  return g;
}

}  // namespace

TEST_CASE("winograd: equals the direct convolution of integers, at all sizes and widths") {
  for (const FloatKernels* kernels : float_kernel_tables()) {
    if (!kernels->is_supported()) continue;
    CAPTURE(kernels->name);
    for (const auto& [height, width] : {std::pair{1, 1}, {1, 2}, {2, 3}, {5, 4}, {16, 13}, {17, 32}})
      for (const auto& [in, out] : {std::pair{1, 3}, {16, 32}, {37, 20}}) {
        CAPTURE(height);
        CAPTURE(width);
        CAPTURE(in);
        const Tensor x = integers({1, in, height, width}, 1, 3, 1), w = integers({out, in, 3, 3}, 2, 3, 4),
                     b = integers({out}, 3, 5, 1);
        const WinogradConv step = winograd_conv(*kernels, w, &b, height, width);
        const Tensor map = channels_last(x);
        Tensor y({height, width, out}, 77);
        std::vector<float> scratch(std::size_t(winograd_scratch(step)), 5.0f);
        for (std::int64_t block = winograd_blocks(height, width); block-- > 0;)
          convolve_block(step, *kernels, block, map.data(), y.data(), scratch.data());
        CHECK(test::difference(y, channels_last(conv2d(x, w, &b, {.kernel = 3, .pad = 1})), 0) == "");
      }
  }
}

TEST_CASE("winograd: activation, and no bias") {
  const Tensor x = integers({1, 16, 6, 6}, 1, 3, 0.25f), w = integers({16, 16, 3, 3}, 2, 3, 0.125f);
  const FloatKernels& kernels = best_float_kernels();
  WinogradConv step = winograd_conv(kernels, w, nullptr, 6, 6);
  step.activation = Activation::kSilu;
  Tensor y({6, 6, 16});
  std::vector<float> scratch(std::size_t(winograd_scratch(step)));
  convolve_block(step, kernels, 0, channels_last(x).data(), y.data(), scratch.data());
  CHECK(test::difference(y, channels_last(silu(conv2d(x, w, nullptr, {.kernel = 3, .pad = 1}))), 1e-5) == "");
}

TEST_CASE("winograd: for windows of 3x3 without stride on maps with tiles enough") {
  const ConvGeometry same{.kernel = 3, .pad = 1};
  CHECK(suits_winograd(same, 32, 32, 16, 16));
  CHECK(suits_winograd(same, 32, 32, 13, 14));
  CHECK(!suits_winograd(same, 32, 32, 12, 12));
  CHECK(!suits_winograd(same, 15, 32, 16, 16));
  CHECK(!suits_winograd(same, 32, 15, 16, 16));
  for (const ConvGeometry& g : {ConvGeometry{.kernel = 3, .stride = 2, .pad = 1}, ConvGeometry{.kernel = 3},
                                ConvGeometry{.kernel = 1}, ConvGeometry{.kernel = 3, .pad = 1, .groups = 2}})
    CHECK(!suits_winograd(g, 32, 32, 64, 64));
}

TEST_CASE("winograd: the gradients of integers are those of the direct sum") {
  for (const auto& [height, width] : {std::pair{14, 14}, {16, 16}, {19, 33}})
    for (const auto& [in, out] : {std::pair{16, 48}, {37, 20}}) {
      CAPTURE(height);
      CAPTURE(in);
      const Tensor x = integers({2, in, height, width}, 1, 3, 1), w = integers({out, in, 3, 3}, 2, 3, 4),
                   dy = integers({2, out, height, width}, 3, 3, 1);
      const ConvGeometry g{.kernel = 3, .pad = 1};
      REQUIRE(suits_winograd(g, in, out, height, width));
      const auto [dx, dw] = direct_gradients(dy, x, w);
      CHECK(test::difference(conv2d_backward_input(dy, w, x.shape(), g), dx, 0) == "");
      CHECK(test::difference(conv2d_backward_weight(dy, x, g), dw, 0) == "");
    }
}
