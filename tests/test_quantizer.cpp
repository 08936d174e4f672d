// The quantisers of the baselines, values by hand; equalization of input channels; zero-point overflow.
#include <cmath>
#include <doctest/doctest.h>

#include "quant/equalize.h"
#include "quant/observer.h"
#include "quant/quantizer.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

std::vector<double> values_of(const Tensor& x) { return {x.values().begin(), x.values().end()}; }

}  // namespace

TEST_CASE("quantizer: zero-point overflow of a channel that is all positive, not of the whole tensor") {
  const Tensor x({1, 2, 2}, {-1, 1, 3, 4});  // channel 1 lies in [3, 4]
  const std::vector<Range> by_channel = channel_ranges(x, 1);
  CHECK(overflows(by_channel, 8) == 1);
  CHECK(overflows({range_of(x)}, 8) == 0);
  CHECK(overflows({{-4, -3}}, 8) == 1);
  CHECK(overflows({{0, 1}, {-1, 0}, {0, 0}}, 8) == 0);
  // Taken as seen: scale 1 / 255, the zero point -765 is clamped to 0, and the values shift by 3, out of
  // range.
  const QParams seen = affine_params(by_channel, 8, 1, 1, ZeroRange::kAsSeen);
  CHECK(seen.zero_point[1] == 0);
  CHECK(near(fake_quantize(4.0, seen, 1), 1, 1e-6));
  // Extended to zero: the step is larger, the value stays.
  const QParams included = affine_params(by_channel, 8, 1);
  CHECK(near(fake_quantize(4.0, included, 1), 4, 1e-6));
}

TEST_CASE("quantizer: groups of rows and 16 bits") {
  const QParams q = symmetric_params({{-1, 1}, {-2, 2}}, 2, 0, 2);  // codes -1, 0, 1; rows 0-1 and 2-3
  CHECK(std::string(granularity_name(q)) == "group");
  CHECK(values_of(fake_quantize(Tensor({4, 1}, {0.6, 3, 0.6, 3}), q)) == std::vector<double>{1, 1, 0, 2});
  CHECK(error_of([&] { validate(q, {5, 1}, "w"); }) == "invalid_argument: [w] groups of 2 in 5 channels");
  const QParams wide = symmetric_params({{-1, 1}}, 16);
  CHECK(bit_width(wide) == 16);
  CHECK(near(fake_quantize(0.123456, wide), 0.123456, 0.5 / 32767 + 1e-9));
  validate(wide, {3}, "x");
}

TEST_CASE("quantizer: twin ranges by hand") {
  // 3 bits: codes 0 .. 3 in [0, 1/4) with step 1/12, and in [1/4, 1] with step 1/3.
  const Quantizer softmax = twin_softmax(0.25f, 3);
  const Tensor p({5}, {0, 0.05, 0.2, 0.3, 1});
  const std::vector<double> expected{0, 1.0 / 12, 2.0 / 12, 1.0 / 3, 1};
  const Tensor rounded = fake_quantize(p, softmax);
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(near(double(rounded[std::int64_t(i)]), expected[i], 1e-7));
  CHECK(bit_width(softmax) == 3);
  // 2 bits after SiLU: the lower step is 0.27846 / 2, the upper one 8 times that with codes 0 and 1.
  const double low = -kSiluMinimum / 2;
  const Tensor y = fake_quantize(Tensor({5}, {-0.27, -0.1, 0.3, 0.9, 9}), twin_silu(3, 2));
  for (const auto& [at, value] : {std::pair{0, -2 * low}, {1, -low}, {2, 0.0}, {3, 8 * low}, {4, 8 * low}})
    CHECK(near(double(y[at]), value, 1e-6));
}

TEST_CASE("quantizer: logarithmic steps by hand") {
  // 3 bits: 1, 1/2, ... 1/64, and the last code is zero.
  const Quantizer log2 = LogUniform{1, 1, 7};
  const Tensor x({7}, {1, 0.7, 0.71, 0.3, 1.0 / 64, 1.0 / 150, 0});
  CHECK(values_of(fake_quantize(x, log2)) == std::vector<double>{1, 0.5, 1, 0.25, 1.0 / 64, 0, 0});
  CHECK(std::string(scheme_name(log2)) == "log2");
  const Tensor half = fake_quantize(Tensor({2}, {0.7, 0.84}), LogUniform{1, 2, 15});
  CHECK(near(double(half[0]), std::sqrt(0.5), 1e-6));
  CHECK(near(double(half[1]), std::sqrt(0.5), 1e-6));  // 2^-0.25 = 0.8409 is the border
  CHECK(std::isnan(fake_quantize(Tensor({1}, {real(NAN)}), log2)[0]));
}

TEST_CASE("quantizer: the share that is clipped") {
  const QParams q{{1, 10}, {0, 0}, 1, -2, 2};
  const Tensor x({1, 2, 2}, {2.4, 2.6, 24, -26});
  CHECK(saturated_share(x, q) == 0.5);
  CHECK(saturated_share(x, QParams{{1}, {0}, -1, -2, 2}) == 0.75);
  CHECK(saturated_share(x, Unquantized{}) == 0);
}

TEST_CASE("equalize: channels of one size, and a layer that computes the same") {
  const std::vector<Range> ranges{{-1, 0.5}, {0, 4}, {0, 0}};
  const std::vector<float> full = equalization(ranges, 1), half = equalization(ranges, 0.5);
  CHECK(near(full[0], 0.5, 1e-6));
  CHECK(near(full[1], 2, 1e-6));
  CHECK(full[2] == 1);
  CHECK(near(half[1], std::sqrt(2), 1e-6));
  for (const float a : equalization(ranges, 0)) CHECK(a == 1);
  const Tensor w = random_tensor({2, 3, 1, 1}, 1);
  const Tensor scaled = multiply_channels(w, full);
  CHECK(near(double(scaled[4]), 2 * double(w[4]), 1e-6));
  CHECK(difference(divide_channels(scaled, full), w, 1e-6) == "");
  const QParams q = spread(affine_params({{-1, 4.1}}, 8), full, 1);
  CHECK(q.axis == 1);
  CHECK(near(q.scale[1] / q.scale[0], 4, 1e-6));
  CHECK(q.zero_point == std::vector<std::int32_t>{50, 50, 50});
  // Rounding in equalised coordinates: the code of w a, divided by a.
  const QParams weight = symmetric_params({{-2, 2}}, 3);
  CHECK(near(double(fake_quantize_weight(w, weight, full)[4]), fake_quantize(2 * double(w[4]), weight) / 2,
             1e-6));
}

TEST_CASE("quantizer: rows of channels get the values that maps get") {
  const std::int64_t channels = 5, rows = 12;
  const Tensor map = test::random_tensor({1, channels, 3, 4}, 1, -2, 3);
  Tensor x({rows, channels});  // the same, channels last
  for (std::int64_t i = 0; i < x.size(); ++i) x[i] = map[i % channels * rows + i / channels];
  const std::vector<Range> ranges{{-1, 2}, {-2, 1}, {0, 3}, {-0.5, 0.5}, {-2, 3}};
  const std::vector<Quantizer> quantizers{Unquantized{},
                                          symmetric_params({{-2, 3}}, 4),
                                          affine_params({{-2, 3}}, 8),
                                          affine_params(ranges, 4, 1),
                                          symmetric_params(ranges, 8, 1),
                                          twin_softmax(0.5f, 4),
                                          twin_silu(2, 6),
                                          logarithmic(3, 1, 4),
                                          logarithmic(1, 2, 8)};
  for (const Quantizer& q : quantizers) {
    CAPTURE(scheme_name(q));
    const Tensor expected = fake_quantize(map, q);
    Tensor y({rows, channels});
    fake_quantize_rows(q, x.data(), y.data(), rows, channels);
    int wrong = 0;
    for (std::int64_t i = 0; i < y.size(); ++i) wrong += y[i] != expected[i % channels * rows + i / channels];
    CHECK(wrong == 0);
  }
  // One head of several: its parameters hold for all of x.
  const QParams by_head = affine_params(ranges, 4, 1);
  Tensor y({rows, channels});
  fake_quantize_rows(by_head, x.data(), y.data(), rows, channels, 3);
  for (std::int64_t i = 0; i < y.size(); ++i) CHECK(y[i] == real(fake_quantize(double(x[i]), by_head, 3)));
  CHECK(test::error_of([&] {
          fake_quantize_rows(by_head, x.data(), y.data(), rows, 4);
        }).find("5 scales for 4 channels") != std::string::npos);
}

TEST_CASE("quantizer: powers are the nearest in the logarithm, over all binades") {
  for (const int steps : {1, 2}) {
    const LogUniform q = logarithmic(0.75f, steps, 6);
    std::vector<real> xs;
    for (int i = 0; i < 4000; ++i) xs.push_back(real(0.9 * std::exp2(-i / 97.0)));
    std::vector<real> ys(xs.size());
    fake_quantize_rows(q, xs.data(), ys.data(), 1, std::ssize(xs));
    for (std::size_t i = 0; i < xs.size(); ++i) {
      const double code = std::max(0.0, std::nearbyint(-std::log2(double(xs[i]) / 0.75) * steps));
      CHECK(ys[i] == (code >= q.last ? real(0) : real(0.75 * std::exp2(-code / steps))));
    }
  }
}
