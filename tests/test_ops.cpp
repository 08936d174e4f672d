// The operators that compute (convolution, products, normalisation, activations) against plain loops in
// higher precision and against values worked out by hand. tests/test_layout.cpp has those that sum, broadcast
// and move.
//
// Tolerances follow from counting roundings: each is at most u = eps / 2 relative to the value rounded.
#include <algorithm>
#include <bit>
#include <cmath>
#include <doctest/doctest.h>
#include <functional>
#include <limits>

#include "tensor/exp.h"
#include "tensor/ops.h"
#include "tests/support.h"

using namespace qhv;
using test::difference;
using test::random_tensor;

namespace {

constexpr bool kDouble = sizeof(real) == 8;
constexpr double kEps = std::numeric_limits<real>::epsilon();

/// A result in long double and the largest sum of magnitudes behind an element of it, which scales its error:
/// any order of k products and a bias gives at most (k + 1) u bound; with rounding the expected value, (k +
/// 2) u bound. The tolerance is twice that.
struct Sums {
  Tensor values;
  double bound = 0;

  void set(std::int64_t i, long double sum, long double magnitude) {
    values[i] = real(sum);
    bound = std::max(bound, double(magnitude));
  }
  double tolerance(std::int64_t k) const { return double(k + 2) * kEps * bound; }
};

/// Convolution by its definition: seven loops.
Sums naive_conv2d(const Tensor& x, const Tensor& w, const Tensor* b, const ConvGeometry& g) {
  const std::int64_t height = (x.dim(2) + 2 * g.pad - g.kernel) / g.stride + 1,
                     width = (x.dim(3) + 2 * g.pad - g.kernel) / g.stride + 1;
  Sums y{Tensor({x.dim(0), w.dim(0), height, width})};
  std::int64_t i = 0;
  for (std::int64_t n = 0; n < x.dim(0); ++n)
    for (std::int64_t o = 0; o < w.dim(0); ++o)
      for (std::int64_t oy = 0; oy < height; ++oy)
        for (std::int64_t ox = 0; ox < width; ++ox, ++i) {
          long double sum = b ? b->at({o}) : real(0), magnitude = std::abs(sum);
          for (std::int64_t c = 0; c < w.dim(1); ++c)
            for (std::int64_t ky = 0; ky < g.kernel; ++ky)
              for (std::int64_t kx = 0; kx < g.kernel; ++kx) {
                const std::int64_t iy = oy * g.stride + ky - g.pad, ix = ox * g.stride + kx - g.pad;
                if (iy < 0 || iy >= x.dim(2) || ix < 0 || ix >= x.dim(3)) continue;
                const std::int64_t channel = o / (w.dim(0) / g.groups) * w.dim(1) + c;
                const long double product =
                    (long double)(x.at({n, channel, iy, ix})) * (long double)(w.at({o, c, ky, kx}));
                sum += product;
                magnitude += std::abs(product);
              }
          y.set(i, sum, magnitude);
        }
  return y;
}

/// Rows of `width` elements normalised; element i of a row has the parameters of channel i / area. `factor`
/// is the largest weight / deviation, by which errors of an element grow.
struct Normalised {
  Tensor values;
  double factor = 0;
};
Normalised naive_norm(const Tensor& x, const Tensor& w, const Tensor& b, double eps, std::int64_t width,
                      std::int64_t area) {
  Normalised y{Tensor(x.shape())};
  for (std::int64_t start = 0; start < x.size(); start += width) {
    const real* row = x.data() + start;
    long double mean = 0, variance = 0;
    for (std::int64_t i = 0; i < width; ++i) mean += row[i] / (long double)(width);
    for (std::int64_t i = 0; i < width; ++i)
      variance += (row[i] - mean) * (row[i] - mean) / (long double)(width);
    for (std::int64_t i = 0; i < width; ++i) {
      const long double factor = w[i / area] / std::sqrt(variance + (long double)(eps));
      y.values[start + i] = real((row[i] - mean) * factor + (long double)(b[i / area]));
      y.factor = std::max(y.factor, double(factor));
    }
  }
  return y;
}

}  // namespace

TEST_CASE("conv2d: kernels, strides, pads, groups and bias against the definition") {
  struct Channels {
    int in, out, groups;  // dense, two groups, depthwise, depthwise with two outputs for each input
  };
  for (const Channels& c : {Channels{3, 5, 1}, {4, 6, 2}, {5, 5, 5}, {3, 6, 3}, {1, 1, 1}})
    for (const auto& [height, width] : {std::pair{7, 9}, {5, 4}, {1, 2}})
      for (const int kernel : {1, 2, 3, 5})
        for (const int stride : {1, 2, 3})
          for (const int pad : {0, 1, 2}) {
            if (std::min(height, width) + 2 * pad < kernel) continue;
            const ConvGeometry g{kernel, stride, pad, c.groups};
            const Tensor x = random_tensor({2, c.in, height, width}, 1);
            const Tensor w = random_tensor({c.out, c.in / c.groups, kernel, kernel}, 2);
            const Tensor b = random_tensor({c.out}, 3);
            INFO("channels " << c.in << " -> " << c.out << ", groups " << c.groups << ", map " << height
                             << " x " << width << ", kernel " << kernel << ", stride " << stride << ", pad "
                             << pad);
            for (const Tensor* bias : {&b, static_cast<const Tensor*>(nullptr)}) {
              const Sums expected = naive_conv2d(x, w, bias, g);
              CHECK(difference(conv2d(x, w, bias, g), expected.values,
                               expected.tolerance(w.size() / c.out)) == "");
            }
          }
}

TEST_CASE("linear and matmul against the definition") {
  const auto row_times = [](const Tensor& a, std::int64_t a0, const Tensor& b, std::int64_t b0,
                            std::int64_t step, std::int64_t k, long double& magnitude) {
    long double sum = 0;
    for (std::int64_t p = 0; p < k; ++p) {
      const long double product = (long double)(a[a0 + p]) * (long double)(b[b0 + p * step]);
      sum += product;
      magnitude += std::abs(product);
    }
    return sum;
  };
  for (const Shape& shape : {Shape{11}, {5, 11}, {2, 3, 11}, {1, 2, 3, 11}}) {
    const Tensor x = random_tensor(shape, 4), w = random_tensor({7, 11}, 5), b = random_tensor({7}, 6);
    Shape out = shape;
    out.back() = 7;
    for (const Tensor* bias : {&b, static_cast<const Tensor*>(nullptr)}) {
      Sums expected{Tensor(out)};
      for (std::int64_t i = 0; i < expected.values.size(); ++i) {
        long double magnitude = 1;
        const long double sum = row_times(x, i / 7 * 11, w, i % 7 * 11, 1, 11, magnitude);
        expected.set(i, sum + (bias ? (long double)(b[i % 7]) : 0), magnitude);
      }
      CHECK(difference(linear(x, w, bias), expected.values, expected.tolerance(11)) == "");
    }
  }
  for (const Shape& outer : {Shape{}, {3}, {2, 3}})
    for (const bool transposed : {false, true})
      for (const double scale : {1.0, -0.37}) {
        const std::int64_t m = 4, k = 9, n = 5, batch = element_count(outer);
        const auto of = [&outer](std::int64_t rows, std::int64_t columns) {
          Shape shape = outer;
          shape.insert(shape.end(), {rows, columns});
          return shape;
        };
        const Tensor a = random_tensor(of(m, k), 7), b = random_tensor(transposed ? of(n, k) : of(k, n), 8);
        Sums expected{Tensor(of(m, n))};
        for (std::int64_t i = 0; i < batch * m * n; ++i) {
          const std::int64_t start = i / (m * n) * k * n, column = i % n;
          long double magnitude = 0;
          const long double sum = row_times(a, i / n * k, b, start + column * (transposed ? k : 1),
                                            transposed ? 1 : n, k, magnitude);
          expected.set(i, sum * (long double)(scale), magnitude);
        }
        INFO("batch " << outer << ", transposed " << transposed << ", scale " << scale);
        // Two roundings more: the scale's and the product's.
        CHECK(difference(matmul(a, b, transposed, scale), expected.values, expected.tolerance(k + 2)) == "");
      }
}

TEST_CASE("linear with empty sums is its bias, or zero") {
  const Tensor bias({2}, {3, 4});
  CHECK(difference(linear(Tensor({2, 0}), Tensor({2, 0}), &bias), Tensor({2, 2}, {3, 4, 3, 4}), 0) == "");
  CHECK(difference(linear(Tensor({500, 0}), Tensor({2, 0}), nullptr), Tensor({500, 2}), 0) == "");
}

TEST_CASE("normalisation: values by hand, with variances and eps that give exact roots") {
  const Tensor w({2}, {2, 3}), b({2}, {1, -1});
  CHECK(difference(
            batch_norm(Tensor({1, 2, 1, 2}, {1, 5, 2, 4}), w, b, Tensor({2}, {1, 2}), Tensor({2}, {3, 0}), 1),
            Tensor({1, 2, 1, 2}, {1, 5, -1, 5}), 0) == "");
  // Mean 2, population variance 1, eps 3: the standard deviation counts as 2. A constant row gives the bias.
  CHECK(difference(layer_norm(Tensor({2, 2}, {1, 3, 7, 7}), Tensor({2}, {2, 4}), b, 3),
                   Tensor({2, 2}, {0, 1, 1, -1}), 0) == "");
  CHECK(difference(group_norm(Tensor({2, 2, 1, 2}, {1, 3, 1, 3, 9, 9, 9, 9}), Tensor({2}, {2, 4}), b, 3),
                   Tensor({2, 2, 1, 2}, {0, 2, -3, 1, 1, 1, -1, -1}), 0) == "");
}

TEST_CASE("normalisation: against long double, also far from zero") {
  for (const double offset : {0.0, 1000.0})
    for (const Shape& shape : {Shape{3, 5}, {2, 5, 4}, {2, 5, 3, 7}, {1, 5, 8, 8}}) {
      const Tensor x = random_tensor(shape, 10, offset - 1, offset + 1), w = random_tensor({5}, 11, 0.5, 1.5),
                   b = random_tensor({5}, 12), mean = random_tensor({5}, 13, offset - 0.1, offset + 0.1),
                   var = random_tensor({5}, 14, 0.3, 1.5);
      const std::int64_t area = x.size() / shape[0] / 5;
      INFO("shape " << shape << " around " << offset);
      Tensor expected(shape);
      for (std::int64_t i = 0; i < x.size(); ++i) {
        const std::size_t c = std::size_t(i / area % 5);
        const long double factor = w.values()[c] / std::sqrt((long double)(var.values()[c]) + 1e-5L);
        expected[i] = real((x[i] - (long double)(mean.values()[c])) * factor + (long double)(b.values()[c]));
      }
      // x * scale + shift in real, where both are as large as the offset times the factor and cancel: five
      // roundings (scale, shift, product, sum, expected), each u of that. batch_norm's factor is below 3.
      const double affine = 2.5 * kEps * (offset + 2);
      CHECK(difference(batch_norm(x, w, b, mean, var, 1e-5), expected, affine * 3) == "");
      const Normalised grouped = naive_norm(x, w, b, 1e-5, 5 * area, area);
      CHECK(difference(group_norm(x, w, b, 1e-5), grouped.values, affine * grouped.factor) == "");
    }
  // layer_norm works in double and rounds to real once. Of double's roundings only the mean's grow with the
  // offset: eight lanes, of width / 8 terms each, and three to join them; ten more are those of the other
  // steps.
  for (const double offset : {0.0, 1000.0, 1e6})
    for (const std::int64_t width : {1, 2, 7, 8, 9, 64}) {
      const Tensor x = random_tensor({3, width}, 15, offset - 1, offset + 1),
                   w = random_tensor({width}, 16, 0.5, 1.5), b = random_tensor({width}, 17);
      const Normalised expected = naive_norm(x, w, b, 1e-6, width, 1);
      const double roundings = (double(width) / 8 + 13) / 2 * std::numeric_limits<double>::epsilon();
      INFO("width " << width << " around " << offset);
      CHECK(difference(layer_norm(x, w, b, 1e-6), expected.values, roundings * (offset + 2) * expected.factor,
                       kEps) == "");
    }
}

TEST_CASE("softmax: sums, shifts, large values and thirds") {
  const double kLn2 = std::log(2.0), kLn3 = std::log(3.0);
  CHECK(difference(softmax(Tensor({2, 3}, {0, real(kLn2), real(kLn3), 5, 5, 5})),
                   Tensor({2, 3}, {real(1.0 / 6), real(2.0 / 6), real(0.5), real(1.0 / 3), real(1.0 / 3),
                                   real(1.0 / 3)}),
                   0, 4 * kEps) == "");
  constexpr real kLargest = std::numeric_limits<real>::max();
  CHECK(difference(softmax(Tensor({2, 4}, {1000, 1000, -1000, 0, kLargest, -kLargest, kLargest, 0})),
                   Tensor({2, 4}, {0.5, 0.5, 0, 0, 0.5, 0, 0.5, 0}), 1e-37) == "");
  for (const std::int64_t width : {1, 2, 7, 8, 9, 40}) {
    Tensor x = random_tensor({2, 3, width}, 20, -10, 10);
    for (real& v : x.values()) v = std::round(v * 64) / 64;  // so that differences and shifts are exact
    Tensor shifted = x, expected(x.shape());
    for (real& v : shifted.values()) v += 1024;
    const Tensor y = softmax(x);
    CHECK(difference(softmax(shifted), y, 0) == "");
    for (std::int64_t row = 0; row < 6; ++row) {
      long double total = 0, sum = 0;
      for (std::int64_t i = 0; i < width; ++i) total += std::exp((long double)(x[row * width + i]));
      for (std::int64_t i = 0; i < width; ++i) {
        expected[row * width + i] = real(std::exp((long double)(x[row * width + i])) / total);
        sum += y[row * width + i];
      }
      CHECK(std::abs(double(sum) - 1) <= 4 * kEps);
    }
    // exp (1.22 ulp) above and below the line, the factor, the product and the expected value.
    CHECK(difference(y, expected, 0, 5 * kEps) == "");
  }
}

TEST_CASE("exp_real: the bound that tensor/exp.h states, over floats of every size") {
  const auto error_in_ulp = [](float x) {
    const double exact = std::exp(double(x));
    return std::abs(exp_real(x) - exact) / std::ldexp(1.0, std::ilogb(exact) - 23);
  };
  double worst = error_in_ulp(-0x1.dfa24cp+5f);  // the worst of all floats in the range
  CHECK(worst > 1.2);
  for (const float end : {-87.0f, 88.0f})  // every 1117th float from zero to the end: two million
    for (std::uint32_t bits = std::bit_cast<std::uint32_t>(std::copysign(0.0f, end));
         bits <= std::bit_cast<std::uint32_t>(end); bits += 1117)
      worst = std::max(worst, error_in_ulp(std::bit_cast<float>(bits)));
  CHECK(worst < 1.22);
  CHECK(exp_real(-1e9f) == exp_real(-87.0f));
  CHECK(exp_real(1e9f) == exp_real(88.0f));
  CHECK(exp_real(0.0f) == 1);
  CHECK(std::isnormal(exp_real(-87.0f)));
  CHECK(std::isfinite(exp_real(88.0f)));
  CHECK(std::isnan(exp_real(std::numeric_limits<float>::quiet_NaN())));
  CHECK(exp_real(-1.25) == std::exp(-1.25));
}

TEST_CASE("silu: against the formula from 0 to 1e4") {
  Tensor x = random_tensor({5, 41}, 30, -20, 20);
  const real special[] = {0, -0.0, 1, -1, 30, -30, 87.5, -87.5, 100, -100, 1e4, -1e4};
  std::copy(std::begin(special), std::end(special), x.data());
  Tensor expected(x.shape());
  for (std::int64_t i = 0; i < x.size(); ++i) expected[i] = real(x[i] / (1 + std::exp(-double(x[i]))));
  const Tensor y = silu(x);
  // 1 / ln 2 as a float is off by 1.3e-8, times 20 that is 2.2 ulp of exp; the power of two, 1.6; sum,
  // quotient and expected, three halves. Above 88 float's exp(-x) is clamped: 1e4 / exp(88) is left.
  CHECK(difference(y, expected, kDouble ? 0 : 1e-34, 5.3 * kEps) == "");
  CHECK((!std::signbit(y[0]) && std::signbit(y[1])));
  CHECK(std::isnan(silu(Tensor({1}, std::numeric_limits<real>::quiet_NaN()))[0]));
}

TEST_CASE("shapes that do not fit are the caller's fault, by the operator's name") {
  const auto zeros = [](auto... extents) { return Tensor(Shape{extents...}); };
  const Tensor map = zeros(1, 4, 5, 5), row = zeros(2, 3), v3 = zeros(3), v4 = zeros(4), scalar = zeros();
  const ConvGeometry k1, k3{.kernel = 3}, k8{.kernel = 8, .pad = 1}, two_groups{.groups = 2},
      still{.stride = 0};
  const Tensor* none = nullptr;
  const std::string conv = "[conv2d] input [1, 4, 5, 5] and weight ";
  const std::vector<std::pair<std::function<void()>, std::string>> cases{
      {[&] { conv2d(map, zeros(2, 3, 3, 3), none, k3); }, conv + "[2, 3, 3, 3] with kernel 3, groups 1"},
      {[&] { conv2d(map, zeros(3, 2, 1, 1), none, two_groups); },
       conv + "[3, 2, 1, 1] with kernel 1, groups 2"},
      {[&] { conv2d(map, zeros(2, 4, 3, 2), none, k3); }, conv + "[2, 4, 3, 2] with kernel 3, groups 1"},
      {[&] { conv2d(map, zeros(2, 4, 8, 8), none, k8); }, conv + "[2, 4, 8, 8] with kernel 8, groups 1"},
      {[&] { conv2d(zeros(1, 4, 5, 2), zeros(2, 4, 3, 3), none, k3); },
       "[conv2d] input [1, 4, 5, 2] and weight [2, 4, 3, 3]"},
      {[&] { conv2d(zeros(1, 4, 2, 5), zeros(2, 4, 3, 3), none, k3); },
       "[conv2d] input [1, 4, 2, 5] and weight [2, 4, 3, 3]"},
      {[&] { conv2d(row, zeros(2, 3, 1, 1), none, k1); }, "[conv2d] input [2, 3] and weight [2, 3, 1, 1]"},
      {[&] { conv2d(map, zeros(2, 4, 1, 1), none, still); }, "[conv2d] kernel 1, stride 0, pad 0, groups 1"},
      {[&] { conv2d(map, zeros(2, 4, 1, 1), &v3, k1); }, "[conv2d] bias [3] for 2 outputs"},
      {[&] { softmax(Tensor(Shape{})); }, "[softmax] input of shape []"},
      {[&] { layer_norm(Tensor(Shape{}), v3, v3, 1e-5); }, "[layer_norm] input of shape []"},
      {[&] { sum_last(Tensor(Shape{})); }, "[sum_last] input of shape []"},
      {[&] { linear(row, zeros(5, 4), none); }, "[linear] input [2, 3] and weight [5, 4]"},
      {[&] { linear(scalar, zeros(5, 4), none); }, "[linear] input [] and weight [5, 4]"},
      {[&] { linear(row, zeros(5, 3), &v4); }, "[linear] bias [4] for 5 outputs"},
      {[&] { matmul(row, zeros(4, 3), false, 1); }, "[matmul] operands [2, 3] and [4, 3]"},
      {[&] { matmul(row, zeros(3, 4), true, 1); }, "[matmul] operands [2, 3] and [3, 4]^T"},
      {[&] { matmul(row, zeros(1, 3, 4), false, 1); }, "[matmul] operands [2, 3] and [1, 3, 4]"},
      {[&] { matmul(zeros(2, 2, 3), zeros(3, 3, 4), false, 1); },
       "[matmul] operands [2, 2, 3] and [3, 3, 4]"},
      {[&] { batch_norm(map, v4, v4, v4, v3, 1); },
       "[batch_norm] parameter of shape [3] for input [1, 4, 5, 5]"},
      {[&] { batch_norm(v4, v4, v4, v4, v4, 1); }, "[batch_norm] input of shape [4]"},
      {[&] { layer_norm(row, v4, v3, 1); }, "[layer_norm] parameter of shape [4] for input [2, 3]"},
      {[&] { layer_norm(row, v3, v4, 1); }, "[layer_norm] parameter of shape [4] for input [2, 3]"},
      {[&] { group_norm(map, v4, v3, 1); }, "[group_norm] parameter of shape [3] for input [1, 4, 5, 5]"},
      {[&] { group_norm(v4, v4, v4, 1); }, "[group_norm] input of shape [4]"},
      {[&] { softmax(zeros(2, 0)); }, "[softmax] input of shape [2, 0]"},
  };
  for (const auto& [action, text] : cases)
    CHECK(test::error_of(action).starts_with("invalid_argument: " + text));
}
