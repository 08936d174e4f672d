// The operators that broadcast, reduce, move and resample: against the index formulas of tensor/ops.h, and
// values worked out by hand. What only moves or multiplies once must be exact.
#include <algorithm>
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

/// Elements 0, 1, 2, ...: every element tells where it came from.
Tensor counted(Shape shape) {
  Tensor x(std::move(shape));
  for (std::int64_t i = 0; i < x.size(); ++i) x[i] = real(i);
  return x;
}

/// [2, 2, in.., in..] -> values of a bilinear function at the given rows and columns; each plane has its own.
Tensor bilinear(const std::vector<double>& rows, const std::vector<double>& columns) {
  Tensor x({2, 2, std::int64_t(rows.size()), std::int64_t(columns.size())});
  std::int64_t i = 0;
  for (int plane = 0; plane < 4; ++plane)
    for (const double r : rows)
      for (const double c : columns) x[i++] = real(8 * plane + 4 * r + c + 2 * (plane + 1) * r * c);
  return x;
}

}  // namespace

TEST_CASE("mul: every pattern of broadcast extents") {
  const std::int64_t full[] = {2, 3, 5};
  for (int pattern = 0; pattern < 64; ++pattern) {  // two bits for each axis: is it 1 in a, is it 1 in b
    Shape sa, sb, out;
    for (int axis = 0; axis < 3; ++axis) {
      const int bits = pattern >> 2 * axis & 3;
      sa.push_back(bits & 1 ? 1 : full[axis]);
      sb.push_back(bits & 2 ? 1 : full[axis]);
      out.push_back(std::max(sa.back(), sb.back()));
    }
    const Tensor a = random_tensor(sa, 1), b = random_tensor(sb, 2);
    Tensor expected(out);
    for (std::int64_t i = 0; i < out[0]; ++i)
      for (std::int64_t j = 0; j < out[1]; ++j)
        for (std::int64_t k = 0; k < out[2]; ++k)
          expected.at({i, j, k}) =
              a.at({i % sa[0], j % sa[1], k % sa[2]}) * b.at({i % sb[0], j % sb[1], k % sb[2]});
    INFO(sa << " * " << sb);
    CHECK(difference(mul(a, b), expected, 0) == "");
  }
  CHECK(difference(mul(Tensor(Shape{}, real(3)), Tensor(Shape{}, real(-2))), Tensor(Shape{}, real(-6)), 0) ==
        "");
  CHECK(mul(Tensor({2, 1}), Tensor({2, 0})).shape() == Shape{2, 0});
  // The two of MobileViTv2: scores over channels, and a context vector over patches.
  const Tensor map = counted({1, 2, 1, 3});
  CHECK(difference(mul(map, Tensor({1, 1, 1, 3}, {1, 10, 100})),
                   Tensor({1, 2, 1, 3}, {0, 10, 200, 3, 40, 500}), 0) == "");
  CHECK(difference(mul(Tensor({1, 2, 1, 1}, {2, -1}), map), Tensor({1, 2, 1, 3}, {0, 2, 4, -3, -4, -5}), 0) ==
        "");
}

TEST_CASE("add and relu: element by element") {
  const Tensor a = random_tensor({3, 7, 5}, 3), b = random_tensor({3, 7, 5}, 4);
  Tensor sum(a.shape()), positive(a.shape());
  for (std::int64_t i = 0; i < a.size(); ++i) {
    sum[i] = a[i] + b[i];
    positive[i] = std::max(a[i], real(0));
  }
  CHECK(difference(add(a, b), sum, 0) == "");
  CHECK(difference(relu(a), positive, 0) == "");
  CHECK(relu(Tensor({2}, {-1e30, 1e-30}))[0] == 0);
  CHECK(std::isnan(relu(Tensor({1}, std::numeric_limits<real>::quiet_NaN()))[0]));
}

TEST_CASE("sum_last and global_avg_pool: small integers are exact, and long sums are in double") {
  for (const std::int64_t width : {0, 1, 2, 7, 8, 9, 17, 40}) {
    const Tensor x = counted({2, 3, width});
    Tensor expected({2, 3, 1});
    for (std::int64_t row = 0; row < 6; ++row)  // width * first + 0 + 1 + ...
      expected[row] = real(width * width * row + width * (width - 1) / 2);
    INFO("width " << width);
    CHECK(difference(sum_last(x), expected, 0) == "");
    if (width == 0) continue;
    for (real& v : expected.values()) v /= real(width);  // the sums are exact: this is the one rounding
    const Tensor pooled = global_avg_pool(Tensor(x).reshaped({2, 3, width, 1}));
    CHECK(difference(pooled, expected.reshaped({2, 3}), 0) == "");
    CHECK(difference(global_avg_pool(Tensor(x).reshaped({2, 3, 1, width})), pooled, 0) == "");
  }
  // 2^24 + 1 is no float: summed in float, the ones would be lost. Kernels may sum a stretch of 1024 elements
  // in float.
  Tensor x({1, 1, 32, 64}, real(1));
  std::fill_n(x.data(), 1024, real(0));
  x[0] = real(1 << 24);
  CHECK(sum_last(Tensor(x).reshaped({2048}))[0] == real((1 << 24) + 1024));
  CHECK(global_avg_pool(x)[0] == real(((1 << 24) + 1024) / 2048.0));
}

TEST_CASE("top_k: largest first, ties by lower index") {
  using Rows = std::vector<std::vector<int>>;
  const Tensor x({2, 5}, {1, 3, 3, 2, 3, -5, -1, -2, -1, -3});
  CHECK((top_k(x, 5) == Rows{{1, 2, 4, 3, 0}, {1, 3, 2, 4, 0}}));
  CHECK((top_k(x, 2) == Rows{{1, 2}, {1, 3}}));
  CHECK((top_k(x, 1) == Rows{{1}, {1}}));
  CHECK((top_k(x, 0) == Rows{{}, {}}));
  CHECK((top_k(Tensor({1, 6}), 4) == Rows{{0, 1, 2, 3}}));
  CHECK((top_k(Tensor({1, 4}, {real(NAN), -5, real(NAN), 1}), 4) == Rows{{3, 1, 0, 2}}));
}

TEST_CASE("concat and slice: each axis, and each is the other's inverse") {
  for (int axis = 0; axis < 3; ++axis) {
    const Tensor x = counted({4, 5, 6});
    const Tensor first = slice(x, axis, 0, 1), none = slice(x, axis, 1, 1), middle = slice(x, axis, 1, 3),
                 rest = slice(x, axis, 3, x.dim(axis));
    INFO("axis " << axis);
    CHECK(none.dim(axis) == 0);
    CHECK(middle.dim(axis) == 2);
    bool right = middle.size() == x.size() / x.dim(axis) * 2;
    for (std::int64_t i = 0; i < middle.dim(0); ++i)
      for (std::int64_t j = 0; j < middle.dim(1); ++j)
        for (std::int64_t k = 0; k < middle.dim(2); ++k)
          right &= middle.at({i, j, k}) == x.at({i + (axis == 0), j + (axis == 1), k + (axis == 2)});
    CHECK(right);
    CHECK(difference(concat_axis({&first, &none, &middle, &rest}, axis), x, 0) == "");
    CHECK(difference(concat_axis({&x}, axis), x, 0) == "");
  }
  const Tensor a({2, 1}, {1, 2}), b({2, 2}, {3, 4, 5, 6});
  CHECK(difference(concat_axis({&a, &b}, 1), Tensor({2, 3}, {1, 3, 4, 2, 5, 6}), 0) == "");
}

TEST_CASE("heads: channel h * width + i of a token is channel i of head h") {
  const Tensor x = counted({2, 3, 8});
  const Tensor heads = split_heads(x, 4);
  REQUIRE(heads.shape() == Shape{2, 4, 3, 2});
  CHECK(heads.at({0, 1, 0, 0}) == 2);   // first token, second head
  CHECK(heads.at({1, 3, 2, 1}) == 47);  // the last of all
  bool right = true;
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t h = 0; h < 4; ++h)
      for (std::int64_t n = 0; n < 3; ++n)
        for (std::int64_t i = 0; i < 2; ++i) right &= heads.at({b, h, n, i}) == x.at({b, n, h * 2 + i});
  CHECK(right);
  CHECK(difference(merge_heads(heads), x, 0) == "");
}

TEST_CASE("patches: position and patch are counted row by row, in both layouts") {
  for (const auto& [height, width, p] : {std::tuple{4, 6, 2}, {6, 9, 3}, {2, 8, 2}, {3, 2, 1}}) {
    const Tensor x = counted({2, 3, height, width});
    const std::int64_t positions = p * p, patches = height * width / positions;
    const Tensor tokens = unfold_patches(x, p, PatchLayout::kTokens),
                 first = unfold_patches(x, p, PatchLayout::kChannelsFirst);
    REQUIRE(tokens.shape() == Shape{2 * positions, patches, 3});
    REQUIRE(first.shape() == Shape{2, 3, positions, patches});
    bool right = true;
    for (std::int64_t b = 0; b < 2; ++b)
      for (std::int64_t c = 0; c < 3; ++c)
        for (std::int64_t row = 0; row < height; ++row)
          for (std::int64_t column = 0; column < width; ++column) {
            const std::int64_t position = row % p * p + column % p, n = row / p * (width / p) + column / p;
            right &= tokens.at({b * positions + position, n, c}) == x.at({b, c, row, column});
            right &= first.at({b, c, position, n}) == x.at({b, c, row, column});
          }
    INFO(height << " x " << width << ", patch " << p);
    CHECK(right);
    CHECK(difference(fold_patches(tokens, p, PatchLayout::kTokens, height, width), x, 0) == "");
    CHECK(difference(fold_patches(first, p, PatchLayout::kChannelsFirst, height, width), x, 0) == "");
  }
  // 2 x 4 in patches of 2 x 2: by position, the pixels 0 2, 1 3, 4 6, 5 7.
  CHECK(difference(unfold_patches(counted({1, 1, 2, 4}), 2, PatchLayout::kChannelsFirst),
                   Tensor({1, 1, 4, 2}, {0, 2, 1, 3, 4, 6, 5, 7}), 0) == "");
}

TEST_CASE("resize_bilinear: positions by hand reproduce a bilinear function") {
  struct Axis {
    std::vector<double> in, half_pixel, corners;  // coordinates of the input, and of the output in it
  };
  const std::vector<Axis> axes{
      {{0, 1}, {0, 0.25, 0.75, 1}, {0, 1. / 3, 2. / 3, 1}},      // 2 -> 4
      {{0, 1, 2}, {0.25, 1.75}, {0, 2}},                         // 3 -> 2
      {{0}, {0, 0}, {0, 0}},                                     // 1 -> 2
      {{0, 1, 2}, {1}, {0}},                                     // 3 -> 1
      {{0, 1, 2}, {0, 1, 2}, {0, 1, 2}},                         // 3 -> 3
      {{0, 1, 2, 3}, {0.5, 2.5}, {0, 3}},                        // 4 -> 2
      {{0, 1, 2}, {0, 0.625, 1.375, 2}, {0, 2. / 3, 4. / 3, 2}}  // 3 -> 4
  };
  for (const Axis& rows : axes)
    for (const Axis& columns : axes) {
      const Tensor x = bilinear(rows.in, columns.in);
      const std::int64_t height = std::int64_t(rows.corners.size()),
                         width = std::int64_t(columns.corners.size());
      // Blending in double: the rounding to real is the only one above 1e-15 times values below 100.
      constexpr double kEps = std::numeric_limits<real>::epsilon();
      INFO(x.shape() << " to " << height << " x " << width);
      CHECK(difference(resize_bilinear(x, height, width, false),
                       bilinear(rows.half_pixel, columns.half_pixel), 1e-13, kEps) == "");
      CHECK(difference(resize_bilinear(x, height, width, true), bilinear(rows.corners, columns.corners),
                       1e-13, kEps) == "");
    }
  const Tensor x = random_tensor({1, 2, 5, 4}, 5);
  for (const bool align_corners : {false, true})
    CHECK(difference(resize_bilinear(x, 5, 4, align_corners), x, 0) == "");
}

TEST_CASE("layout: shapes that do not fit are the caller's fault") {
  const auto zeros = [](auto... extents) { return Tensor(Shape{extents...}); };
  const Tensor a = zeros(2, 3), b = zeros(3, 2), one = zeros(1, 3), v = zeros(6), map = zeros(1, 2, 4, 6);
  const std::vector<const Tensor*> nothing, unlike{&a, &b}, ranks{&a, &v}, alone{&a};
  constexpr PatchLayout kTokens = PatchLayout::kTokens, kFirst = PatchLayout::kChannelsFirst;
  const std::vector<std::pair<std::function<void()>, std::string>> cases{
      {[&] { add(a, b); }, "[add] shapes [2, 3] and [3, 2]"},
      {[&] { add(a, one); }, "[add] shapes [2, 3] and [1, 3]"},
      {[&] { mul(a, b); }, "[mul] shapes [2, 3] and [3, 2]"},
      {[&] { mul(a, v); }, "[mul] shapes [2, 3] and [6]"},
      {[&] { global_avg_pool(a); }, "[global_avg_pool] input of shape [2, 3]"},
      {[&] { global_avg_pool(zeros(1, 2, 0, 3)); }, "[global_avg_pool] input of shape [1, 2, 0, 3]"},
      {[&] { top_k(a, 4); }, "[top_k] 4 of shape [2, 3]"},
      {[&] { top_k(v, 1); }, "[top_k] 1 of shape [6]"},
      {[&] { concat_axis(nothing, 0); }, "[concat] nothing to join"},
      {[&] { concat_axis(alone, 2); }, "[concat] axis 2 of shape [2, 3]"},
      {[&] { concat_axis(unlike, 0); }, "[concat] shapes [2, 3] and [3, 2]"},
      {[&] { concat_axis(ranks, 0); }, "[concat] shapes [2, 3] and [6]"},
      {[&] { slice(a, 1, 1, 4); }, "[slice] 1 .. 4 of axis 1 of shape [2, 3]"},
      {[&] { slice(a, 1, 2, 1); }, "[slice] 2 .. 1 of axis 1 of shape [2, 3]"},
      {[&] { slice(a, 1, -1, 1); }, "[slice] -1 .. 1 of axis 1 of shape [2, 3]"},
      {[&] { slice(a, 2, 0, 1); }, "[slice] 0 .. 1 of axis 2 of shape [2, 3]"},
      {[&] { split_heads(zeros(1, 2, 6), 4); }, "[split_heads] [1, 2, 6] into 4 heads"},
      {[&] { split_heads(a, 1); }, "[split_heads] [2, 3] into 1 heads"},
      {[&] { merge_heads(a); }, "[merge_heads] input of shape [2, 3]"},
      {[&] { unfold_patches(a, 2, kTokens); }, "[unfold_patches] input of shape [2, 3]"},
      {[&] { unfold_patches(map, 4, kFirst); }, "[unfold_patches] 4 x 6 is not a multiple of 4 x 4 patches"},
      {[&] { fold_patches(zeros(3, 6, 2), 2, kTokens, 4, 6); },
       "[fold_patches] [3, 6, 2] to 4 x 6 with 2 x 2 patches"},
      {[&] { fold_patches(zeros(1, 2, 4, 5), 2, kFirst, 4, 6); },
       "[fold_patches] [1, 2, 4, 5] to 4 x 6 with 2 x 2 patches"},
      {[&] { fold_patches(map, 2, kTokens, 4, 6); }, "[fold_patches] input of shape [1, 2, 4, 6]"},
      {[&] { fold_patches(map, 4, kFirst, 4, 6); },
       "[fold_patches] 4 x 6 is not a multiple of 4 x 4 patches"},
      {[&] { resize_bilinear(map, 0, 2, false); }, "[resize_bilinear] [1, 2, 4, 6] to 0 x 2"},
      {[&] { resize_bilinear(a, 2, 2, false); }, "[resize_bilinear] [2, 3] to 2 x 2"},
  };
  for (const auto& [action, text] : cases) CHECK(test::error_of(action) == "invalid_argument: " + text);
}
