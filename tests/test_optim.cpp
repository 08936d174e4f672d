// Optimisers against their formulas written out for single numbers, schedules at their ends, clipping and
// averages.
#include <array>
#include <cmath>
#include <doctest/doctest.h>
#include <limits>

#include "autograd/optim.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

constexpr double kEps = std::numeric_limits<real>::epsilon();
const std::array<double, 3> kGradients{0.5, -0.25, 2};

/// One parameter of one element, [1, 1] (which decays) or [1], after each of three steps.
std::array<double, 3> trace(const OptimizerOptions& options, double lr, const Shape& shape) {
  Optimizer optimizer{.options = options};
  Tensor w(shape, 1);
  Tensor* const params[] = {&w};
  std::array<double, 3> result;
  for (std::size_t t = 0; t < 3; ++t) {
    const Tensor grads[] = {Tensor(shape, real(kGradients[t]))};
    optimizer_step(optimizer, lr, params, grads, 1);
    result[t] = double(w[0]);
  }
  CHECK(optimizer.step == 3);
  return result;
}

void same(const std::array<double, 3>& actual, const std::array<double, 3>& expected) {
  for (std::size_t t = 0; t < 3; ++t) {
    CAPTURE(t);
    CAPTURE(actual[t]);
    CAPTURE(expected[t]);
    CHECK(
        near(actual[t], expected[t], 32 * kEps));  // some ten roundings of numbers of at most 2 in each step
  }
}

/// Adam for one number, with both moments corrected as the paper writes it.
std::array<double, 3> adam_by_hand(double lr, double decay) {
  double w = 1, m = 0, v = 0;
  std::array<double, 3> result;
  for (int t = 1; t <= 3; ++t) {
    const double g = kGradients[std::size_t(t - 1)];
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    const double corrected_m = m / (1 - std::pow(0.9, t)), corrected_v = v / (1 - std::pow(0.999, t));
    w = w - lr * corrected_m / (std::sqrt(corrected_v) + 1e-8) - lr * decay * w;
    result[std::size_t(t - 1)] = w;
  }
  return result;
}

std::vector<Tensor> random_tensors(std::uint64_t seed) {
  std::vector<Tensor> tensors;
  for (const Shape& shape : {Shape{7, 33}, Shape{129}, Shape{2, 3, 5, 5}, Shape{0, 4}, Shape{}, Shape{1000}})
    tensors.push_back(random_tensor(shape, ++seed));
  return tensors;
}

std::vector<Tensor*> pointers(std::vector<Tensor>& tensors) {
  std::vector<Tensor*> result;
  for (Tensor& t : tensors) result.push_back(&t);
  return result;
}

bool equal_bits(std::span<const Tensor> a, std::span<const Tensor> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Tensor& x, const Tensor& y) {
    return std::equal(x.values().begin(), x.values().end(), y.values().begin(), y.values().end());
  });
}

constexpr OptimizerOptions kPlainAdam{.kind = OptimizerKind::kAdam, .weight_decay = 0};

}  // namespace

TEST_CASE("optim: SGD by hand") {
  const double lr = 0.1, momentum = 0.5, decay = 0.2;
  const OptimizerOptions options{.kind = OptimizerKind::kSgd, .momentum = momentum, .weight_decay = decay};
  // Without decay: m = 0.5, 0.25 - 0.25 = 0, 2.
  same(trace(options, lr, {1}), {1 - 0.05, 0.95, 0.95 - 0.2});
  const double m1 = 0.5 + decay * 1, w1 = 1 - lr * m1;
  const double m2 = momentum * m1 - 0.25 + decay * w1, w2 = w1 - lr * m2;
  const double m3 = momentum * m2 + 2 + decay * w2, w3 = w2 - lr * m3;
  same(trace(options, lr, {1, 1}), {w1, w2, w3});
}

TEST_CASE("optim: Adam by hand; the first step is lr whatever the gradient") {
  const auto expected = adam_by_hand(0.01, 0);
  CHECK(near(expected[0], 0.99, 1e-9));
  same(trace(kPlainAdam, 0.01, {1, 1}), expected);
  same(trace(kPlainAdam, 0.01, {1}), expected);
}

TEST_CASE("optim: AdamW decays two axes and more, not one") {
  const OptimizerOptions options{.weight_decay = 0.3};
  same(trace(options, 0.1, {1, 1}), adam_by_hand(0.1, 0.3));
  same(trace(options, 0.1, {1, 1, 1, 1}), adam_by_hand(0.1, 0.3));
  same(trace(options, 0.1, {1}), adam_by_hand(0.1, 0));
  same(trace(options, 0.1, {}), adam_by_hand(0.1, 0));
}

TEST_CASE("optim: every element for itself, and the same bits with any number of threads") {
  for (const OptimizerKind kind : {OptimizerKind::kSgd, OptimizerKind::kAdam, OptimizerKind::kAdamW}) {
    const OptimizerOptions options{.kind = kind, .weight_decay = kind == OptimizerKind::kAdam ? 0 : 0.01};
    std::vector<std::vector<Tensor>> results;
    for (const int threads : {1, 2, 5}) {
      Optimizer optimizer{.options = options};
      std::vector<Tensor> weights = random_tensors(1);
      for (std::uint64_t t = 0; t < 3; ++t)
        optimizer_step(optimizer, 0.01, pointers(weights), random_tensors(100 * (t + 1)), threads);
      results.push_back(std::move(weights));
    }
    CHECK(equal_bits(results[0], results[1]));
    CHECK(equal_bits(results[0], results[2]));

    // The last element of the largest parameter, alone.
    Optimizer optimizer{.options = options};
    Tensor alone({1}, random_tensors(1)[5][999]);
    Tensor* const params[] = {&alone};
    for (std::uint64_t t = 0; t < 3; ++t) {
      const Tensor grads[] = {Tensor({1}, random_tensors(100 * (t + 1))[5][999])};
      optimizer_step(optimizer, 0.01, params, grads, 1);
    }
    CHECK(alone[0] == results[0][5][999]);
  }
}

TEST_CASE("optim: each reaches the bottom of a parabola") {
  // f(w) = sum of c (w - target)^2 / 2, c = 1 .. 4.
  const Tensor target({4}, std::vector<real>{1, -2, 0.5, 3});
  const OptimizerOptions all[]{
      {.kind = OptimizerKind::kSgd, .weight_decay = 0}, kPlainAdam, {.weight_decay = 0.1}};
  for (const OptimizerOptions& options : all) {
    Optimizer optimizer{.options = options};
    Tensor w({4});
    Tensor* const params[] = {&w};
    for (int t = 0; t < 400; ++t) {
      Tensor g({4});
      for (std::int64_t i = 0; i < 4; ++i) g[i] = real(i + 1) * (w[i] - target[i]);
      const std::vector<Tensor> grads{std::move(g)};
      optimizer_step(optimizer, cosine_schedule(t, 400, 10, 0.1, 0.01), params, grads, 1);
    }
    CHECK(difference(w, target, 1e-3) == "");
  }
}

TEST_CASE("optim: misfits are refused and change nothing") {
  Optimizer optimizer;
  Tensor w({2, 3}, 1);
  Tensor* const params[] = {&w};
  const auto step = [&](const Shape& shape) {
    return error_of([&] {
      const std::vector<Tensor> grads{Tensor(shape, 1)};
      optimizer_step(optimizer, 0.1, params, grads, 1);
    });
  };
  CHECK(step({3, 2}) ==
        "invalid_argument: [optimizer] gradient 0 has shape [3, 2] for a parameter of [2, 3]");
  CHECK(error_of([&] { optimizer_step(optimizer, 0.1, params, {}, 1); }) ==
        "invalid_argument: [optimizer] 0 gradients for 1 parameters");
  CHECK(optimizer.step == 0);
  CHECK(step({2, 3}) == "no error");
  const real after = w[0];
  w = Tensor({6}, after);
  CHECK(step({6}).find("first moment 0 has shape [2, 3] for a parameter of [6]") != std::string::npos);
  w = Tensor({2, 3}, after);
  optimizer.second.clear();
  CHECK(step({2, 3}).find("0 second moments for 1 parameters") != std::string::npos);
  CHECK(optimizer.step == 1);
  CHECK(w[5] == after);
}

TEST_CASE("optim: options out of range") {
  const auto error = [](const OptimizerOptions& options, double lr = 0.1) {
    Optimizer optimizer{.options = options};
    return error_of([&] { optimizer_step(optimizer, lr, {}, {}, 1); });
  };
  CHECK(error({}) == "no error");
  CHECK(error({.kind = OptimizerKind::kAdam}).find("Adam with weight_decay 0.01") != std::string::npos);
  CHECK(error({.kind = OptimizerKind::kSgd, .momentum = 1}).find("momentum 1") != std::string::npos);
  CHECK(error({.beta2 = 1}).find("beta2 1") != std::string::npos);
  CHECK(error({.eps = 0}).find("eps 0") != std::string::npos);
  CHECK(error({.weight_decay = -1}).find("weight_decay -1") != std::string::npos);
  CHECK(error({}, std::nan("")).find("learning rate nan") != std::string::npos);
}

TEST_CASE("optim: the schedule rises in a line and falls in half a cosine") {
  const auto lr = [](std::int64_t step) { return cosine_schedule(step, 15, 4, 2, 0.1); };
  CHECK(lr(0) == 0.5);
  CHECK(lr(1) == 1);
  CHECK(lr(3) == 2);
  CHECK(lr(4) == 2);
  CHECK(near(lr(9), 1.1, 1e-15));  // half way between 2 and 0.2
  CHECK(near(lr(14), 0.2, 1e-15));
  CHECK(near(cosine_schedule(25, 101, 0, 1, 0), (1 + std::sqrt(0.5)) / 2, 1e-15));
  CHECK(cosine_schedule(0, 1, 0, 3, 0.5) == 3);
  CHECK(cosine_schedule(1, 2, 2, 3, 0.5) == 3);
  CHECK(error_of([&] { lr(15); }).starts_with("invalid_argument: [cosine_schedule] step 15 of 15"));
  CHECK(error_of([&] { lr(-1); }).starts_with("invalid_argument"));
  CHECK(error_of([] { cosine_schedule(0, 3, 4, 1, 0); }).starts_with("invalid_argument"));
}

TEST_CASE("optim: gradients are clipped by the norm of all together") {
  const std::vector<Tensor> grads{Tensor({2}, std::vector<real>{3, 0}), Tensor({1, 1}, real(-4))};
  std::vector<Tensor> clipped = grads;
  CHECK(clip_global_norm(clipped, 5) == 5);
  CHECK(equal_bits(clipped, grads));
  CHECK(clip_global_norm(clipped, 1) == 5);
  CHECK(near(clipped[0][0], 0.6, kEps));
  CHECK(near(clipped[1][0], -0.8, kEps));
  CHECK(near(clip_global_norm(clipped, 10), 1, 4 * kEps));

  // In double: in float the ones would vanish beside 2^24.
  std::vector<Tensor> far_apart{Tensor({10001}, real(1))};
  far_apart[0][0] = 4096;
  CHECK(near(clip_global_norm(far_apart, 1e9), std::sqrt(16777216.0 + 10000), 1e-9));

  for (const double bad : {std::nan(""), double(INFINITY)}) {
    std::vector<Tensor> broken{Tensor({2}, std::vector<real>{real(bad), 100})};
    CHECK(!std::isfinite(clip_global_norm(broken, 1)));
    CHECK(broken[0][1] == 100);
  }
  CHECK(error_of([&] { clip_global_norm(clipped, 0); }).starts_with("invalid_argument"));
}

TEST_CASE("optim: moving averages") {
  std::vector<Tensor> average{Tensor({2}, std::vector<real>{1, real(0.1)})};
  const Tensor value({2}, std::vector<real>{5, real(0.1)}), misfit({3});
  const Tensor* const values[] = {&value};
  const Tensor* const misfits[] = {&misfit};
  ema_update(average, values, 0.75);
  CHECK(average[0][0] == 2);
  ema_update(average, values, 0.5);
  CHECK(average[0][0] == 3.5);
  CHECK(average[0][1] == value[1]);
  ema_update(average, values, 0);
  CHECK(average[0][0] == 5);
  CHECK(error_of([&] { ema_update(average, misfits, 0.5); }) ==
        "invalid_argument: [ema_update] average 0 has shape [2] for a value of [3]");
  CHECK(error_of([&] { ema_update(average, {}, 0.5); }).starts_with("invalid_argument"));
  CHECK(error_of([&] { ema_update(average, values, 1.5); }).starts_with("invalid_argument"));
  CHECK(ema_decay(0.999, 0) == 0.1);
  CHECK(ema_decay(0.999, 8) == 0.5);
  CHECK(ema_decay(0.999, 100000) == 0.999);
}
