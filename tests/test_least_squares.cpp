// Weights by least squares over a layer's moments.
#include <cmath>
#include <doctest/doctest.h>

#include "nn/build.h"
#include "nn/run.h"
#include "quant/observer.h"
#include "quant/reconstruction/least_squares.h"
#include "tensor/ops.h"
#include "tests/support.h"

using namespace qhv;

namespace {

/// The moments of one layer over some inputs, and what they are of.
struct Case {
  Node node;
  std::vector<Tensor> inputs, wanted;
  Shape weight;
  LayerMoments moments = {};

  Tensor output(const Tensor& x, const Tensor& w) const {
    const Conv2d* conv = std::get_if<Conv2d>(&node.op);
    return conv ? conv2d(x, w, nullptr, conv->geometry) : linear(x, w, nullptr);
  }
};

Case make_case(const Op& op, const Shape& input, const Shape& weight) {
  Case c{{"layer", op, {}, {}}, {}, {}, weight};
  for (std::uint64_t i = 0; i < 3; ++i) {
    c.inputs.push_back(test::random_tensor(input, i, -0.2, 1));
    const Tensor y = c.output(c.inputs.back(), test::random_tensor(weight, 7));
    c.wanted.push_back(add(y, test::random_tensor(y.shape(), 20 + i, -0.1, 0.3)));
    add(c.moments, layer_moments(c.node, c.inputs.back(), c.wanted.back()));
  }
  return c;
}

std::vector<Case> cases() {
  const auto conv = [](std::int64_t in, std::int64_t out, ConvGeometry g, const Shape& x) {
    return make_case(Conv2d{in, out, g}, x, {out, in / g.groups, g.kernel, g.kernel});
  };
  return {conv(4, 6, {.kernel = 3, .stride = 2, .pad = 1}, {1, 4, 9, 7}), conv(5, 3, {}, {1, 5, 6, 6}),
          conv(6, 6, {.kernel = 3, .pad = 1, .groups = 6}, {1, 6, 5, 8}),
          conv(4, 6, {.kernel = 3, .pad = 1, .groups = 2}, {1, 4, 6, 6}),
          make_case(Linear{5, 4}, {2, 9, 5}, {4, 5})};
}

/// By output: the squared errors of all inputs, and if `centred` what is left of them about their mean.
std::vector<double> direct_errors(const Case& c, const Tensor& w, bool centred) {
  const int axis = std::holds_alternative<Linear>(c.node.op) ? -1 : 1;
  std::vector<double> sums(std::size_t(c.weight[0])), squares(sums.size());
  for (std::size_t k = 0; k < c.inputs.size(); ++k) {
    const Tensor y = c.output(c.inputs[k], w);
    const std::int64_t inner = axis < 0 ? 1 : y.dim(2) * y.dim(3);
    for (std::int64_t i = 0; i < y.size(); ++i) {
      const double e = double(y[i]) - double(c.wanted[k][i]);
      sums[std::size_t(i / inner % c.weight[0])] += e;
      squares[std::size_t(i / inner % c.weight[0])] += e * e;
    }
  }
  for (std::size_t o = 0; o < sums.size(); ++o) {
    squares[o] /= double(c.moments.count);
    if (centred) squares[o] -= std::pow(sums[o] / double(c.moments.count), 2);
  }
  return squares;
}

double total(const LayerMoments& moments, const Tensor& w) {
  double sum = 0;
  for (const double e : errors_of(moments, w)) sum += e;
  return sum;
}

}  // namespace

TEST_CASE("layer moments tell the error of any weight, with and without a bias") {
  for (const Case& c : cases()) {
    const Tensor w = test::random_tensor(c.weight, 3);
    for (const bool centred : {false, true}) {
      const std::vector<double> errors = errors_of(centred ? centered(c.moments) : c.moments, w),
                                expected = direct_errors(c, w, centred);
      REQUIRE(errors.size() == expected.size());
      for (std::size_t o = 0; o < errors.size(); ++o)
        CHECK(test::near(errors[o], expected[o], 1e-5 * (1 + expected[o])));
    }
  }
}

TEST_CASE("ridge is where the penalised error is least, and lambda holds it at the start") {
  for (const Case& c : cases()) {
    const Tensor start = test::random_tensor(c.weight, 4);
    const Tensor free = ridge(start, c.moments, 1e-9, 1), between = ridge(start, c.moments, 0.1, 2),
                 at_start = ridge(start, c.moments, 1e7, 1);
    CHECK(test::difference(at_start, start, 1e-5) == "");
    CHECK(total(c.moments, free) < total(c.moments, between));
    CHECK(total(c.moments, between) < total(c.moments, start));
    const LayerMoments penalized = held(c.moments, start, 0.1);
    const double least = total(penalized, between);
    for (std::int64_t i = 0; i < start.size(); ++i)
      for (const real by : {real(-0.02), real(0.02)}) {
        Tensor moved = between;
        moved[i] += by;
        CHECK(total(penalized, moved) > least);
      }
  }
  // Inputs that are always zero, as rounding may make them, say nothing against the weights.
  LayerMoments none = cases()[1].moments;
  std::ranges::fill(none.gram, 0.0);
  std::ranges::fill(none.cross, 0.0);
  const Tensor start = test::random_tensor({3, 5, 1, 1}, 1);
  CHECK(test::difference(ridge(start, none, 1e-3, 1), start, 1e-6) == "");
  none.gram[0] = std::numeric_limits<double>::quiet_NaN();
  CHECK(test::error_of([&] { ridge(start, none, 1, 1); }) ==
        "invalid_argument: [least squares] moments that are not finite");
}

TEST_CASE("descent finds the best of all roundings of layers of 3 x 4 weights") {
  // Inputs rise and fall together, so that errors of weights add up or cancel.
  int found = 0;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    const Tensor weight = test::random_tensor({3, 4}, seed, -3, 3);
    const Tensor noise = test::random_tensor({12, 4}, 100 + seed, 0, 0.5);
    Tensor x({12, 4});
    for (std::int64_t i = 0; i < x.size(); ++i) x[i] = noise[i] + real(double(i / 4 + 1) / 12);
    const LayerMoments moments =
        layer_moments({"layer", Linear{4, 3}, {}, {}}, x, linear(x, weight, nullptr));
    QParams q;
    q.scale = {1};
    q.zero_point = {0};
    q.qmin = -3, q.qmax = 3;
    const WeightGrid grid = next_to(weight_grid({3, 4}, q, {}), weight);
    std::vector<double> best(3, 1e30);
    for (int choice = 0; choice < 16; ++choice) {
      Tensor trial({3, 4});
      for (std::int64_t i = 0; i < 12; ++i)
        trial[i] = choice >> (i % 4) & 1 ? grid.highest[i] : grid.lowest[i];
      const std::vector<double> errors = errors_of(moments, trial);
      for (std::size_t o = 0; o < 3; ++o) best[o] = std::min(best[o], errors[o]);
    }
    const Tensor descended = descend(weight, moments, grid, true, 1);
    CHECK(test::difference(descended, descend(weight, moments, grid, true, 2), 0) == "");
    const double error = total(moments, descended);
    CHECK(error <= total(moments, descend(weight, moments, grid, false, 1)));
    found += error <= (best[0] + best[1] + best[2]) * (1 + 1e-6) + 1e-9;
  }
  CHECK(found == 30);
}

TEST_CASE("descent stays on its grid, with scales by channel and equalization") {
  const Tensor weight = test::random_tensor({6, 4, 3, 3}, 5);
  const Case c = cases()[0];
  const std::vector<float> equalization{0.5f, 1, 2, 1.5f};
  const QParams q = symmetric_params(channel_ranges(weight, 0), 4, 0);
  const WeightGrid grid = weight_grid(weight.shape(), q, equalization);
  const Tensor w = descend(weight, c.moments, grid, true, 1);
  for (std::int64_t i = 0; i < w.size(); ++i) {
    const double code = double(w[i]) / double(grid.step[i]);
    CHECK(std::abs(code - std::nearbyint(code)) < 1e-4);
    CHECK(code >= double(q.qmin) - 1e-4);
    CHECK(code <= double(q.qmax) + 1e-4);
    CHECK(test::near(double(grid.step[i]),
                     double(q.scale[std::size_t(i / 36)]) / double(equalization[std::size_t(i / 9 % 4)]),
                     1e-7));
  }
}
