// The adjoints of the linear operators. A linear operator A and its adjoint must satisfy <A x, y> = <x, A^T
// y> for any x and y; a product is linear in each of its operands, and there this holds for both.
// tests/test_adjoints_nonlinear.cpp has the others.
#include <cmath>
#include <doctest/doctest.h>
#include <functional>
#include <limits>

#include "tensor/ops.h"
#include "tests/support.h"

using namespace qhv;
using test::difference;
using test::random_tensor;

namespace {

using Operator = std::function<Tensor(const Tensor&)>;
using BinaryOperator = std::function<Tensor(const Tensor&, const Tensor&)>;

long double inner(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  long double sum = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) sum += (long double)(a[i]) * (long double)(b[i]);
  return sum;
}

Tensor magnitudes(Tensor x) {
  for (real& v : x.values()) v = std::abs(v);
  return x;
}

/// <f(x, w), y> = <x, to_x(y, w)> = <w, to_w(y, x)>. An element that sums k products has an error of at most
/// (k + 2) u times their magnitudes, a scale and a rounding included, and so have inner products with them;
/// the two sides differ by twice that, or (k + 2) eps. `terms` is the largest k on either side.
void check_bilinear(const Tensor& x, const Tensor& w, std::int64_t terms, const BinaryOperator& f,
                    const BinaryOperator& to_x, const BinaryOperator& to_w) {
  const Tensor value = f(x, w), y = random_tensor(value.shape(), 77);
  const long double expected = inner(value, y);
  const double bound = double(inner(magnitudes(f(magnitudes(x), magnitudes(w))), magnitudes(y)));
  const double tolerance = double(terms + 2) * std::numeric_limits<real>::epsilon() * bound;
  INFO("operands " << x.shape() << " and " << w.shape());
  CHECK(test::near(double(inner(x, to_x(y, w))), double(expected), tolerance));
  CHECK(test::near(double(inner(w, to_w(y, x))), double(expected), tolerance));
}

/// <f(x), y> = <x, adjoint(y)>, f having no negative coefficients.
void check_linear(const Tensor& x, std::int64_t terms, const Operator& f, const Operator& adjoint) {
  check_bilinear(
      x, Tensor(Shape{}, real(1)), terms, [&](const Tensor& v, const Tensor&) { return f(v); },
      [&](const Tensor& y, const Tensor&) { return adjoint(y); },
      [&](const Tensor& y, const Tensor& v) { return Tensor(Shape{}, real(inner(f(v), y))); });
}

}  // namespace

TEST_CASE("adjoints of conv2d: kernels, strides, pads and groups") {
  struct Channels {
    int in, out, groups;  // dense, two groups, depthwise, depthwise with two outputs for each input
  };
  for (const Channels& c : {Channels{3, 5, 1}, {4, 6, 2}, {5, 5, 5}, {3, 6, 3}, {1, 1, 1}})
    for (const auto& [height, width] : {std::pair{7, 19}, {5, 4}, {1, 2}})
      for (const int kernel : {1, 2, 3, 5})
        for (const int stride : {1, 2, 3})
          for (const int pad : {0, 1, 2}) {
            if (std::min(height, width) + 2 * pad < kernel) continue;
            const ConvGeometry g{kernel, stride, pad, c.groups};
            const Tensor x = random_tensor({2, c.in, height, width}, 1);
            const Tensor w = random_tensor({c.out, c.in / c.groups, kernel, kernel}, 2);
            INFO("map " << height << " x " << width << ", kernel " << kernel << ", stride " << stride
                        << ", pad " << pad << ", groups " << c.groups);
            const std::int64_t area = conv_extent(height, g) * conv_extent(width, g);
            check_bilinear(
                x, w, std::max({2 * area, w.size() / c.out, w.size() / c.in * c.groups}),
                [&](const Tensor& a, const Tensor& b) { return conv2d(a, b, nullptr, g); },
                [&](const Tensor& dy, const Tensor& b) { return conv2d_backward_input(dy, b, x.shape(), g); },
                [&](const Tensor& dy, const Tensor& a) { return conv2d_backward_weight(dy, a, g); });
          }
  const Tensor x = random_tensor({2, 3, 4, 5}, 3), w({6, 3, 1, 1});
  check_linear(
      random_tensor({6}, 4), 40, [&](const Tensor& b) { return conv2d(x, w, &b, {}); }, conv2d_backward_bias);
}

TEST_CASE("adjoints of linear and matmul") {
  for (const Shape& shape : {Shape{11}, {5, 11}, {2, 3, 11}, {1, 2, 3, 11}, {3, 0, 11}}) {
    const Tensor x = random_tensor(shape, 1), w = random_tensor({7, 11}, 2);
    check_bilinear(
        x, w, 11, [](const Tensor& a, const Tensor& b) { return linear(a, b, nullptr); },
        linear_backward_input, linear_backward_weight);
    check_linear(
        random_tensor({7}, 3), 6, [&](const Tensor& b) { return linear(Tensor(shape), w, &b); },
        linear_backward_bias);
  }
  for (const Shape& outer : {Shape{}, {3}, {2, 3}, {0}})
    for (const bool transposed : {false, true})
      for (const double scale : {1.0, -0.37}) {
        const auto of = [&outer](std::int64_t rows, std::int64_t columns) {
          Shape shape = outer;
          shape.insert(shape.end(), {rows, columns});
          return shape;
        };
        check_bilinear(
            random_tensor(of(4, 9), 4), random_tensor(transposed ? of(5, 9) : of(9, 5), 5), 9 + 2,
            [=](const Tensor& a, const Tensor& b) { return matmul(a, b, transposed, scale); },
            [=](const Tensor& dy, const Tensor& b) { return matmul_backward_a(dy, b, transposed, scale); },
            [=](const Tensor& dy, const Tensor& a) { return matmul_backward_b(dy, a, transposed, scale); });
      }
}

TEST_CASE("adjoint of mul: every pattern of broadcast extents") {
  for (int pattern = 0; pattern < 64; ++pattern) {  // two bits for each axis: is it 1 in a, is it 1 in b
    const std::int64_t full[] = {2, 3, 9};
    Shape sa, sb;
    for (int axis = 0; axis < 3; ++axis) {
      sa.push_back(pattern >> 2 * axis & 1 ? 1 : full[axis]);
      sb.push_back(pattern >> 2 * axis & 2 ? 1 : full[axis]);
    }
    check_bilinear(
        random_tensor(sa, 1), random_tensor(sb, 2), 54, mul,
        [&](const Tensor& dy, const Tensor& b) { return mul_backward(dy, b, sa); },
        [&](const Tensor& dy, const Tensor& a) { return mul_backward(dy, a, sb); });
  }
  CHECK(mul_backward(Tensor(Shape{}, real(3)), Tensor(Shape{}, real(-2)), Shape{})[0] == -6);
  CHECK(difference(mul_backward(Tensor({2, 0}), Tensor({2, 0}), {2, 1}), Tensor({2, 1}), 0) == "");
  Tensor sum({2}, {1, 2});
  accumulate(sum, Tensor({2}, {3, -5}));
  CHECK(difference(sum, Tensor({2}, {4, -3}), 0) == "");
}

TEST_CASE("adjoints of what sums, moves and resamples") {
  for (const Shape& s : {Shape{2, 3, 4, 6}, {1, 17, 2, 8}, {2, 1, 6, 2}, {0, 2, 4, 4}}) {
    const Tensor x = random_tensor(s, 1);
    check_linear(x, s[3], sum_last, [&](const Tensor& dy) { return sum_last_backward(dy, s); });
    check_linear(x, s[2] * s[3], global_avg_pool,
                 [&](const Tensor& dy) { return global_avg_pool_backward(dy, s); });
    for (int axis = 0; axis < 4; ++axis)
      for (const std::int64_t begin : {std::int64_t(0), s[std::size_t(axis)] / 2})
        for (const std::int64_t end : {begin, s[std::size_t(axis)]})
          check_linear(
              x, 1, [=](const Tensor& v) { return slice(v, axis, begin, end); },
              [&, axis, begin](const Tensor& dy) {
                Tensor dx(s);
                slice_accumulate(dx, dy, axis, begin);
                return dx;
              });
    for (const PatchLayout layout : {PatchLayout::kTokens, PatchLayout::kChannelsFirst}) {
      const Operator unfold = [=](const Tensor& v) { return unfold_patches(v, 2, layout); };
      const Operator fold = [=, &s](const Tensor& v) { return fold_patches(v, 2, layout, s[2], s[3]); };
      check_linear(x, 1, unfold, fold);
      check_linear(unfold(x), 1, fold, unfold);
    }
  }
  const Operator split = [](const Tensor& v) { return split_heads(v, 4); };
  check_linear(random_tensor({2, 3, 8}, 2), 1, split, merge_heads);
  check_linear(random_tensor({2, 4, 3, 2}, 3), 1, merge_heads, split);
  const Tensor a = random_tensor({2, 3, 4}, 4), zero({2, 1, 4});
  const Operator surround = [&](const Tensor& v) { return concat_axis({&zero, &v, &zero}, 1); };
  check_linear(a, 1, surround, [](const Tensor& dy) { return slice(dy, 1, 1, 4); });
}

TEST_CASE("adjoint of resize_bilinear: up and down, both conventions") {
  for (const Shape& s : {Shape{2, 3, 4, 6}, {1, 2, 1, 7}, {2, 1, 5, 1}, {0, 1, 2, 2}})
    for (const auto& [rows, columns] : {std::pair{1, 1}, {3, 2}, {5, 7}, {9, 16}})
      for (const bool corners : {false, true}) {
        const std::int64_t height = rows, width = columns;
        check_linear(
            random_tensor(s, 1), 4 * height * width,
            [=](const Tensor& v) { return resize_bilinear(v, height, width, corners); },
            [&](const Tensor& dy) { return resize_bilinear_backward(dy, s[2], s[3], corners); });
      }
}

TEST_CASE("slice_accumulate adds to what is there") {
  Tensor dx({2, 3}, {1, 2, 3, 4, 5, 6});
  slice_accumulate(dx, Tensor({2, 2}, {10, 20, 30, 40}), 1, 1);
  CHECK(difference(dx, Tensor({2, 3}, {1, 12, 23, 4, 35, 46}), 0) == "");
}

TEST_CASE("errors of the adjoints name the operator and the shapes") {
  const Tensor a({2, 3}), map({1, 2, 4, 6}), one({3}), two({2}), w({2, 2, 3, 3}), none({0, 3});
  const Shape narrow{2, 2}, of_map = map.shape(), of_a = a.shape();
  const BatchStatistics stats{one, one};
  const ConvGeometry k3{.kernel = 3}, ungrouped{.groups = 0};
  Tensor sum = a, wide({2, 4});
  const std::pair<std::function<void()>, std::string> cases[] = {
      {[&] { conv2d_backward_input(map, w, of_map, k3); },
       "[conv2d_backward_input] gradient [1, 2, 4, 6] for input [1, 2, 4, 6] and weight [2, 2, 3, 3]"},
      {[&] { conv2d_backward_weight(map, map, ungrouped); },
       "[conv2d_backward_weight] kernel 1, stride 1, pad 0, groups 0"},
      {[&] { conv2d_backward_bias(a); }, "[conv2d_backward_bias] gradient [2, 3]"},
      {[&] { linear_backward_input(a, a); }, "[linear_backward_input] gradient [2, 3] and weight [2, 3]"},
      {[&] { linear_backward_weight(a, one); }, "[linear_backward_weight] gradient [2, 3] for input [3]"},
      {[&] { linear_backward_bias(Tensor(Shape{})); }, "[linear_backward_bias] gradient []"},
      {[&] { matmul_backward_a(a, a, true, 1); }, "[matmul_backward_a] operands [2, 3] and [2, 3]"},
      {[&] { matmul_backward_b(a, one, true, 1); }, "[matmul_backward_b] operands [2, 3]^T and [3]"},
      {[&] { batch_norm_backward(a, a, one, two, one, 0); },
       "[batch_norm_backward] parameter of shape [2] for input [2, 3]"},
      {[&] { batch_statistics(none); }, "[batch_statistics] input of shape [0, 3]"},
      {[&] { batch_norm_train_backward(map, a, one, stats, 0); },
       "[batch_norm_train_backward] gradient [1, 2, 4, 6] for input [2, 3]"},
      {[&] { layer_norm_backward(one, a, one, 0); }, "[layer_norm_backward] gradient [3] for input [2, 3]"},
      {[&] { group_norm_backward(one, one, one, 0); }, "[group_norm_backward] input of shape [3]"},
      {[&] { softmax_backward(one, a); }, "[softmax_backward] gradient [3] for output [2, 3]"},
      {[&] { silu_backward(one, a); }, "[silu_backward] gradient [3] for input [2, 3]"},
      {[&] { relu_backward(one, a); }, "[relu_backward] gradient [3] for input [2, 3]"},
      {[&] { mul_backward(a, a, narrow); }, "[mul_backward] gradient [2, 3] for operands [2, 2] and [2, 3]"},
      {[&] { accumulate(sum, one); }, "[accumulate] shapes [2, 3] and [3]"},
      {[&] { sum_last_backward(a, of_a); }, "[sum_last_backward] gradient [2, 3] for input [2, 3]"},
      {[&] { global_avg_pool_backward(a, of_map); },
       "[global_avg_pool_backward] gradient [2, 3] for input [1, 2, 4, 6]"},
      {[&] { slice_accumulate(wide, a, 1, 2); },
       "[slice_accumulate] gradient [2, 3] of elements from 2 of axis 1 of shape [2, 4]"},
      {[&] { resize_bilinear_backward(map, 0, 2, false); },
       "[resize_bilinear_backward] gradient [1, 2, 4, 6] for 0 x 2"},
  };
  for (const auto& [action, text] : cases) CHECK(test::error_of(action) == "invalid_argument: " + text);
}
