// Winograd convolutions against the direct sum.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "tensor/ops.h"
#include "tensor/winograd.h"
#include "tests/support.h"

using namespace qhv;

namespace {

/// What rounding may make of sums of products: a few of its units of the sum of their magnitudes. A wrong
/// coefficient of a transform is off by far more.
constexpr double kUnits = 16.0 / (1 << 24);

double tolerance(const Tensor& magnitudes) {
  return kUnits * *std::max_element(magnitudes.data(), magnitudes.data() + magnitudes.size());
}

Tensor magnitudes(Tensor x) {
  for (real& v : x.values()) v = std::abs(v);
  return x;
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

TEST_CASE("winograd: equals the direct convolution, at all sizes and widths, whoever computes it") {
  for (const FloatKernels* kernels : float_kernel_tables()) {
    if (!kernels->is_supported()) continue;
    CAPTURE(kernels->name);
    for (const auto& [height, width] : {std::pair{1, 1}, {1, 2}, {2, 3}, {5, 4}, {16, 13}, {17, 32}})
      for (const auto& [in, out] : {std::pair{1, 3}, {16, 32}, {37, 20}}) {
        CAPTURE(height);
        CAPTURE(width);
        CAPTURE(in);
        const ConvGeometry g{.kernel = 3, .pad = 1};
        const Tensor w = test::random_tensor({out, in, 3, 3}, 2), b = test::random_tensor({out}, 3),
                     first = test::random_tensor({1, in, height, width}, 1),
                     second = test::random_tensor({1, in, height, width}, 4);
        const WinogradConv step = winograd_conv(*kernels, w, &b, height, width);
        AlignedFloats maps(2 * first.size());
        std::copy_n(channels_last(first).data(), first.size(), maps.data());
        std::copy_n(channels_last(second).data(), second.size(), maps.data() + first.size());
        std::vector<float> scratch(std::size_t(winograd_scratch(step, 2)), 5.0f);
        std::vector<Tensor> results;
        for (const int threads : {1, 2, 3}) {
          ThreadPool pool(threads);
          Tensor y({2, height, width, out}, 77);
          convolve(step, *kernels, pool, 2, maps.data(), y.data(), scratch.data());
          results.push_back(std::move(y));
          CHECK(test::difference(results.back(), results.front(), 0) == "");
        }
        std::int64_t map = 0;
        for (const Tensor& x : {first, second}) {
          Tensor y({height, width, out});
          std::copy_n(results[0].data() + map++ * y.size(), y.size(), y.data());
          const Tensor bound = conv2d(magnitudes(x), magnitudes(w), nullptr, g);
          CHECK(test::difference(y, channels_last(conv2d(x, w, &b, g)), tolerance(bound) + kUnits) == "");
        }
      }
  }
}

TEST_CASE("winograd: activation, and no bias") {
  const Tensor x = test::random_tensor({1, 16, 6, 6}, 1), w = test::random_tensor({16, 16, 3, 3}, 2);
  const FloatKernels& kernels = best_float_kernels();
  WinogradConv step = winograd_conv(kernels, w, nullptr, 6, 6);
  step.activation = Activation::kSilu;
  Tensor y({6, 6, 16});
  std::vector<float> scratch(std::size_t(winograd_scratch(step, 1)));
  ThreadPool pool(1);
  convolve(step, kernels, pool, 1, channels_last(x).data(), y.data(), scratch.data());
  CHECK(test::difference(y, channels_last(silu(conv2d(x, w, nullptr, {.kernel = 3, .pad = 1}))), 3e-5) == "");
}

TEST_CASE("winograd: for windows of 3x3 without stride on maps with tiles enough") {
  const ConvGeometry same{.kernel = 3, .pad = 1};
  CHECK(suits_winograd(same, 32, 32, 8, 8));
  CHECK(suits_winograd(same, 32, 32, 5, 7));
  CHECK(!suits_winograd(same, 32, 32, 8, 4));
  CHECK(!suits_winograd(same, 15, 32, 16, 16));
  CHECK(!suits_winograd(same, 32, 15, 16, 16));
  for (const ConvGeometry& g : {ConvGeometry{.kernel = 3, .stride = 2, .pad = 1}, ConvGeometry{.kernel = 3},
                                ConvGeometry{.kernel = 1}, ConvGeometry{.kernel = 3, .pad = 1, .groups = 2}})
    CHECK(!suits_winograd(g, 32, 32, 64, 64));
}

TEST_CASE("winograd: the gradients are those of the direct sum") {
  for (const auto& [height, width] : {std::pair{5, 7}, {16, 16}, {19, 33}})
    for (const auto& [in, out] : {std::pair{16, 48}, {37, 20}}) {
      CAPTURE(height);
      CAPTURE(in);
      const Tensor x = test::random_tensor({2, in, height, width}, 1),
                   w = test::random_tensor({out, in, 3, 3}, 2),
                   dy = test::random_tensor({2, out, height, width}, 3);
      const ConvGeometry g{.kernel = 3, .pad = 1};
      REQUIRE(suits_winograd(g, in, out, height, width));
      const auto [dx, dw] = direct_gradients(dy, x, w);
      const auto [dx_bound, dw_bound] = direct_gradients(magnitudes(dy), magnitudes(x), magnitudes(w));
      CHECK(test::difference(conv2d_backward_input(dy, w, x.shape(), g), dx, tolerance(dx_bound)) == "");
      CHECK(test::difference(conv2d_backward_weight(dy, x, g), dw, tolerance(dw_bound)) == "");
    }
}
