// Every rule of the tape against central differences, in double:
//
//   f(x) = <c, op(x)> for a random c;   |df/dx_i - (f(x + eps e_i) - f(x - eps e_i)) / (2 eps)| < 1e-7 max
//   |df/dx|
//
// with eps = 1e-5: the truncation error is about eps^2 f''' / 6 = 2e-11 f''', the rounding error 1e-16 / eps
// = 1e-11. cases_of() is a switch without a default over all that can stand on a tape; one without a case
// does not compile.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "autograd/ops.h"
#include "quant/reconstruction/quantize_on_tape.h"
#include "tests/support.h"

#pragma GCC diagnostic error "-Wswitch"

using namespace qhv;
using test::random_tensor;

namespace {

using Function = std::function<Var(const std::vector<Var>&)>;

struct GradientCase {
  std::vector<Tensor> inputs;
  Function apply;
  /// What the rule is the derivative of, where that is not `apply` itself.
  Function differentiated_as = {};
};

/// Random values away from the kinks at `kinks` by at least 0.01.
Tensor off_kinks(Shape shape, std::uint64_t seed, double low, double high, const std::vector<double>& kinks) {
  Tensor x = random_tensor(std::move(shape), seed, low, high);
  for (real& v : x.values())
    for (const double kink : kinks)
      if (std::abs(v - kink) < 0.01) v = real(kink + 0.02);
  return x;
}

GradientCase conv_case(Shape x, Shape w, bool bias, ConvGeometry g) {
  std::vector<Tensor> inputs{random_tensor(std::move(x), 1), random_tensor(w, 2)};
  if (bias) inputs.push_back(random_tensor({w[0]}, 3));
  return {inputs, [g, bias](const std::vector<Var>& v) {
            return conv2d(v[0], v[1], bias ? std::optional(v[2]) : std::nullopt, g);
          }};
}

template <typename Norm>
GradientCase norm_case(Shape x, std::int64_t channels, Norm norm) {
  return {{random_tensor(std::move(x), 1, -1, 3), random_tensor({channels}, 2, 0.5, 1.5),
           random_tensor({channels}, 3)},
          [norm](const std::vector<Var>& v) { return norm(v[0], v[1], v[2]); }};
}

template <typename Unary>
GradientCase unary_case(Tensor x, Unary unary) {
  return {{std::move(x)}, [unary](const std::vector<Var>& v) { return unary(v[0]); }};
}

GradientCase mul_case(Shape a, Shape b) {
  return {{random_tensor(std::move(a), 1), random_tensor(std::move(b), 2)},
          [](const std::vector<Var>& v) { return mul(v[0], v[1]); }};
}

GradientCase matmul_case(Shape a, Shape b, bool transpose_b, double scale) {
  return {{random_tensor(std::move(a), 1), random_tensor(std::move(b), 2)},
          [=](const std::vector<Var>& v) { return matmul(v[0], v[1], transpose_b, scale); }};
}

/// Rounding of x [2, 3, 4] with steps that are learnt. It is differentiated as if round(u) were u plus what
/// rounding adds at the inputs as they are.
GradientCase learnt_step_case(int axis, std::vector<float> steps, double drop) {
  const std::vector<std::int32_t> zeros(steps.size(), 3);
  const QParams q{steps, zeros, axis, 0, 15};
  const Tensor x = random_tensor({2, 3, 4}, 1, -1.5, 1.5), ones({std::int64_t(steps.size())}, 1);
  const Drop kept{drop, 7};
  GradientCase c{{x, ones},
                 [q, kept](const std::vector<Var>& v) { return quantize_on_tape(v[0], q, v[1], kept); }};
  c.differentiated_as = [q, kept, x](const std::vector<Var>& v) {
    Tensor y = v[0].value();
    for (std::int64_t i = 0; i < y.size(); ++i) {
      const std::int64_t group = q.axis < 0 ? 0 : i / 4 % 3;
      const double base = double(q.scale[std::size_t(group)]), s = base * v[1].value()[group];
      const double position = x[i] / base, rounding = std::nearbyint(position) - position;
      if (kept.keeps(std::uint64_t(i))) continue;
      y[i] = position < -3 ? -3 * s : position > 12 ? 12 * s : y[i] + s * rounding;
    }
    return v[0].tape->constant(std::move(y));
  };
  return c;
}

std::vector<GradientCase> cases_of(TapeOp op) {
  const auto x34 = [] { return random_tensor({3, 4}, 1); };
  switch (op) {
    case TapeOp::kLeaf:
      return {unary_case(x34(), [](Var x) { return x; })};
    case TapeOp::kConv2d:
      return {conv_case({2, 3, 5, 6}, {4, 3, 3, 3}, true, {.kernel = 3, .pad = 1}),
              conv_case({1, 2, 7, 6}, {3, 2, 3, 3}, false, {.kernel = 3, .stride = 2, .pad = 1}),
              conv_case({2, 3, 4, 5}, {4, 3, 1, 1}, true, {}),
              conv_case({1, 4, 5, 5}, {2, 2, 3, 3}, true, {.kernel = 3, .pad = 1, .groups = 2}),
              conv_case({2, 3, 6, 5}, {3, 1, 3, 3}, true, {.kernel = 3, .pad = 1, .groups = 3}),
              conv_case({1, 3, 7, 8}, {3, 1, 3, 3}, false, {.kernel = 3, .stride = 2, .pad = 1, .groups = 3}),
              conv_case({1, 2, 5, 5}, {2, 2, 1, 1}, true, {.stride = 2})};
    case TapeOp::kLinear:
      return {{{random_tensor({2, 3, 4}, 1), random_tensor({5, 4}, 2), random_tensor({5}, 3)},
               [](const std::vector<Var>& v) { return linear(v[0], v[1], v[2]); }},
              {{random_tensor({3, 4}, 1), random_tensor({2, 4}, 2)},
               [](const std::vector<Var>& v) { return linear(v[0], v[1], {}); }}};
    case TapeOp::kMatMul:
      return {matmul_case({2, 2, 3, 4}, {2, 2, 4, 5}, false, 0.7),
              matmul_case({2, 3, 4}, {2, 5, 4}, true, 1)};
    case TapeOp::kAttention:
      return {{{random_tensor({2, 3, 4}, 1), random_tensor({2, 5, 4}, 2), random_tensor({2, 5, 3}, 3)},
               [](const std::vector<Var>& v) { return attention(v[0], v[1], v[2], 0.7); }}};
    case TapeOp::kBatchNorm:
      return {norm_case({2, 3, 4, 2}, 3, [](Var x, Var w, Var b) {
        return batch_norm(x, w, b, x.tape->constant(random_tensor({3}, 4)),
                          x.tape->constant(random_tensor({3}, 5, 0.5, 1.5)), 1e-5);
      })};
    case TapeOp::kBatchNormTrain:
      return {
          norm_case({2, 3, 4, 2}, 3, [](Var x, Var w, Var b) { return batch_norm_train(x, w, b, 1e-5).y; })};
    case TapeOp::kLayerNorm:
      return {norm_case({2, 3, 5}, 5, [](Var x, Var w, Var b) { return layer_norm(x, w, b, 1e-5); })};
    case TapeOp::kGroupNorm:
      return {norm_case({2, 3, 2, 4}, 3, [](Var x, Var w, Var b) { return group_norm(x, w, b, 1e-5); })};
    case TapeOp::kSoftmax:
      return {unary_case(random_tensor({2, 3, 4}, 1, -2, 2), [](Var x) { return softmax(x); })};
    case TapeOp::kSilu:
      return {unary_case(random_tensor({3, 7}, 1, -5, 5), [](Var x) { return silu(x); })};
    case TapeOp::kRelu:
      return {unary_case(off_kinks({3, 7}, 1, -2, 2, {0}), [](Var x) { return relu(x); })};
    case TapeOp::kAdd:
      return {{{x34(), random_tensor({3, 4}, 2)}, [](const std::vector<Var>& v) { return add(v[0], v[1]); }},
              unary_case(x34(), [](Var x) { return add(x, x); })};
    case TapeOp::kMul:
      return {mul_case({2, 3, 4}, {2, 3, 4}), mul_case({2, 3, 4}, {2, 1, 4}), mul_case({2, 3, 1}, {2, 3, 4}),
              mul_case({1, 3, 4}, {2, 3, 1}), unary_case(x34(), [](Var x) { return mul(x, x); })};
    case TapeOp::kSumLast:
      return {unary_case(random_tensor({2, 3, 4}, 1), [](Var x) { return sum_last(x); })};
    case TapeOp::kGlobalAvgPool:
      return {unary_case(random_tensor({2, 3, 4, 5}, 1), [](Var x) { return global_avg_pool(x); })};
    case TapeOp::kConcat:
      return {{{random_tensor({2, 1, 3}, 1), random_tensor({2, 4, 3}, 2)}, [](const std::vector<Var>& v) {
                 return concat_axis({v[0], v[1], v[0]}, 1);
               }}};
    case TapeOp::kSlice:
      return {unary_case(random_tensor({2, 5, 3}, 1), [](Var x) { return slice(x, 1, 1, 4); }),
              unary_case(random_tensor({2, 6}, 1),
                         [](Var x) { return mul(slice(x, 1, 0, 4), slice(x, 1, 2, 6)); })};
    case TapeOp::kSplitHeads:
      return {unary_case(random_tensor({2, 3, 4}, 1), [](Var x) { return split_heads(x, 2); })};
    case TapeOp::kMergeHeads:
      return {unary_case(random_tensor({2, 2, 3, 4}, 1), [](Var x) { return merge_heads(x); })};
    case TapeOp::kUnfoldPatches:
      return {unary_case(random_tensor({2, 3, 4, 6}, 1),
                         [](Var x) { return unfold_patches(x, 2, PatchLayout::kTokens); }),
              unary_case(random_tensor({2, 3, 4, 6}, 1),
                         [](Var x) { return unfold_patches(x, 2, PatchLayout::kChannelsFirst); })};
    case TapeOp::kFoldPatches:
      return {unary_case(random_tensor({8, 6, 3}, 1),
                         [](Var x) { return fold_patches(x, 2, PatchLayout::kTokens, 4, 6); }),
              unary_case(random_tensor({2, 3, 4, 6}, 1),
                         [](Var x) { return fold_patches(x, 2, PatchLayout::kChannelsFirst, 4, 6); })};
    case TapeOp::kResizeBilinear:
      return {
          unary_case(random_tensor({1, 2, 3, 4}, 1), [](Var x) { return resize_bilinear(x, 5, 6, false); }),
          unary_case(random_tensor({1, 2, 5, 4}, 1), [](Var x) { return resize_bilinear(x, 3, 7, true); })};
    case TapeOp::kRoundStraightThrough: {
      GradientCase c =
          unary_case(random_tensor({3, 4}, 1, -3, 3), [](Var x) { return round_straight_through(x); });
      c.differentiated_as = [](const std::vector<Var>& v) { return v[0]; };
      return {c};
    }
    case TapeOp::kRectifiedSigmoid:  // clipped where 1.2 sigmoid(v) - 0.1 is 0 or 1: at v = -+log(11)
      return {unary_case(off_kinks({4, 8}, 1, -4, 4, {-std::log(11.0), std::log(11.0)}),
                         [](Var v) { return rectified_sigmoid(v); })};
    case TapeOp::kFakeQuantize:
      return {learnt_step_case(-1, {0.25f}, 0), learnt_step_case(1, {0.125f, 0.25f, 0.0625f}, 0),
              learnt_step_case(1, {0.125f, 0.25f, 0.0625f}, 0.5)};
    case TapeOp::kCrossEntropy:
      return {unary_case(random_tensor({3, 5}, 1, -2, 2),
                         [](Var x) {
                           return cross_entropy(x, {4, 0, 2}, 0);
                         }),
              unary_case(random_tensor({2, 5}, 1, -2, 2), [](Var x) {
                return cross_entropy(x, {1, 3}, 0.1);
              })};
    case TapeOp::kCount:
      break;
  }
  return {};
}

/// <c, f(x)>, and its gradients by the tape.
double project(const Function& f, const std::vector<Tensor>& inputs,
               std::vector<Tensor>* gradients = nullptr) {
  Tape tape;
  std::vector<Var> vars;
  for (const Tensor& x : inputs) vars.push_back(tape.borrow(x, true));
  const Var y = f(vars);
  const Tensor c = random_tensor(y.shape(), 99);
  double sum = 0;
  for (std::int64_t i = 0; i < c.size(); ++i) sum += c[i] * y.value()[i];
  if (gradients) {
    tape.seed(y, c);
    tape.backward();
    for (const Var v : vars) gradients->push_back(tape.take_gradient(v));
  }
  return sum;
}

/// Empty, or which element of which input disagrees, with both values.
std::string gradient_error(const GradientCase& c) {
  constexpr double kEps = 1e-5, kTolerance = 1e-7;
  std::vector<Tensor> gradients, inputs = c.inputs;
  project(c.apply, inputs, &gradients);
  const Function& f = c.differentiated_as ? c.differentiated_as : c.apply;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    double largest = 0;
    for (const real v : gradients[k].values()) largest = std::max(largest, std::abs(double(v)));
    if (largest == 0) return concat("the gradient of input ", k, " is all zero");
    for (std::int64_t i = 0; i < inputs[k].size(); ++i) {
      const real x = inputs[k][i];
      inputs[k][i] = real(x + kEps);
      const double above = project(f, inputs);
      inputs[k][i] = real(x - kEps);
      const double below = project(f, inputs);
      inputs[k][i] = x;
      const double expected = (above - below) / (2 * kEps);
      if (!(std::abs(gradients[k][i] - expected) < kTolerance * largest))
        return concat("input ", k, " ", inputs[k].shape(), ", element ", i, ": ", gradients[k][i],
                      " instead of ", expected);
    }
  }
  return "";
}

}  // namespace

TEST_CASE("every operator of the tape passes the gradient check") {
  for (int op = 0; op < int(TapeOp::kCount); ++op) {
    const auto cases = cases_of(TapeOp(op));
    INFO("operator " << op);
    CHECK_FALSE(cases.empty());
    for (std::size_t i = 0; i < cases.size(); ++i) {
      INFO("case " << i);
      CHECK(gradient_error(cases[i]) == "");
      Tape tape;  // the case must exercise the operator that it stands for
      std::vector<Var> vars;
      for (const Tensor& x : cases[i].inputs) vars.push_back(tape.constant(x));
      cases[i].apply(vars);
      bool found = false;
      for (int id = 0; id < tape.size(); ++id) found = found || tape.op({&tape, id}) == TapeOp(op);
      CHECK(found);
    }
  }
}

TEST_CASE("the gradient check catches wrong rules") {
  // Each case computes the right value and carries back something plausible but wrong.
  const Tensor x = random_tensor({2, 3, 4, 6}, 1), m = random_tensor({4, 4}, 2), w = random_tensor({4, 4}, 3);
  const auto wrong = [](Tensor input, auto forward, auto rule) {
    return unary_case(std::move(input), [=](Var v) {
      return v.tape->record(TapeOp::kLeaf, forward(v.value()), {v.id}, [=, id = v.id](Tape& t, Tensor dy) {
        t.add_gradient(id, rule(dy, t.value(id)));
      });
    });
  };
  const auto scaled = [](Tensor dx, double factor) {
    for (real& v : dx.values()) v = real(v * factor);
    return dx;
  };
  const auto silu_value = [](const Tensor& t) { return silu(t); };
  CHECK(gradient_error(wrong(m, silu_value,
                             [](const Tensor& dy, const Tensor& t) { return silu_backward(dy, t); })) == "");

  INFO("1 % too large");
  CHECK_FALSE(gradient_error(wrong(m, silu_value, [&](const Tensor& dy, const Tensor& t) {
                return scaled(silu_backward(dy, t), 1.01);
              })).empty());
  INFO("GELU's derivative (by its tanh form) for SiLU's");
  CHECK_FALSE(gradient_error(wrong(m, silu_value, [](Tensor dy, const Tensor& t) {
                for (std::int64_t i = 0; i < t.size(); ++i) {
                  const double v = t[i], a = 0.7978845608, u = std::tanh(a * (v + 0.044715 * v * v * v));
                  dy[i] = real(dy[i] * (0.5 * (1 + u) + 0.5 * v * (1 - u * u) * a * (1 + 0.134145 * v * v)));
                }
                return dy;
              })).empty());
  INFO("mean for sum");
  CHECK_FALSE(gradient_error(wrong(
                                 m, [](const Tensor& t) { return sum_last(t); },
                                 [&](const Tensor& dy, const Tensor& t) {
                                   return scaled(sum_last_backward(dy, t.shape()), 0.25);
                                 }))
                  .empty());
  INFO("transposed weight");
  CHECK_FALSE(gradient_error(wrong(
                                 m, [&](const Tensor& t) { return linear(t, w, nullptr); },
                                 [&](const Tensor& dy, const Tensor&) { return linear(dy, w, nullptr); }))
                  .empty());
  INFO("permuted unfold");
  CHECK_FALSE(
      gradient_error(wrong(
                         x, [](const Tensor& t) { return unfold_patches(t, 2, PatchLayout::kTokens); },
                         [](const Tensor& dy, const Tensor& t) { return Tensor(dy).reshaped(t.shape()); }))
          .empty());
  INFO("softmax without its mean term");
  CHECK_FALSE(gradient_error(wrong(
                                 m, [](const Tensor& t) { return softmax(t); },
                                 [](const Tensor& dy, const Tensor& t) { return mul(dy, softmax(t)); }))
                  .empty());
  INFO("overwritten instead of accumulated");
  CHECK_FALSE(gradient_error(unary_case(m, [](Var v) {
                return v.tape->record(TapeOp::kLeaf, add(v.value(), v.value()), {v.id},
                                      [id = v.id](Tape& t, Tensor dy) { t.add_gradient(id, dy); });
              })).empty());
  INFO("nothing at all");
  CHECK_FALSE(gradient_error(unary_case(m, [](Var v) {
                return v.tape->record(TapeOp::kLeaf, v.value(), {v.id}, [](Tape&, const Tensor&) {});
              })).empty());
}
