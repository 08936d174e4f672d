// Winograd convolutions. With small integers, and filters that are multiples of four, every transform is
// exact, so that the result has to be the direct sum's to the last bit.
#include <cmath>
#include <doctest/doctest.h>

#include "nn/executor/winograd.h"
#include "tensor/ops.h"
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
        const WinogradConv step = winograd_step(*kernels, w, &b, height, width);
        const Tensor map = channels_last(x);
        Tensor y({height, width, out}, 77);
        std::vector<float> scratch(std::size_t(winograd_scratch(step)), 5.0f);
        for (std::int64_t block = winograd_blocks(step); block-- > 0;)
          winograd_block(step, *kernels, block, map.data(), y.data(), scratch.data());
        CHECK(test::difference(y, channels_last(conv2d(x, w, &b, {.kernel = 3, .pad = 1})), 0) == "");
      }
  }
}

TEST_CASE("winograd: activation, and no bias") {
  const Tensor x = integers({1, 16, 6, 6}, 1, 3, 0.25f), w = integers({16, 16, 3, 3}, 2, 3, 0.125f);
  const FloatKernels& kernels = best_float_kernels();
  WinogradConv step = winograd_step(kernels, w, nullptr, 6, 6);
  step.activation = Activation::kSilu;
  Tensor y({6, 6, 16});
  std::vector<float> scratch(std::size_t(winograd_scratch(step)));
  winograd_block(step, kernels, 0, channels_last(x).data(), y.data(), scratch.data());
  CHECK(test::difference(y, channels_last(silu(conv2d(x, w, nullptr, {.kernel = 3, .pad = 1}))), 1e-5) == "");
}

TEST_CASE("winograd: for windows of 3x3 without stride on maps with tiles enough") {
  const Conv2d conv{.in = 32, .out = 32, .geometry = {.kernel = 3, .pad = 1}};
  CHECK(suits_winograd(conv, 16, 16));
  CHECK(suits_winograd(conv, 13, 14));
  CHECK(!suits_winograd(conv, 12, 12));
  for (const ConvGeometry& g : {ConvGeometry{.kernel = 3, .stride = 2, .pad = 1}, ConvGeometry{.kernel = 3},
                                ConvGeometry{.kernel = 1}, ConvGeometry{.kernel = 3, .pad = 1, .groups = 2}})
    CHECK(!suits_winograd({.in = 32, .out = 32, .geometry = g}, 64, 64));
}
