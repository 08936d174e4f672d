// The matrix product by every table of kernels that this CPU supports, against gemm_ref.
#include <cmath>
#include <doctest/doctest.h>

#include "tensor/gemm_packed.h"
#include "tests/support.h"

using namespace qhv;
using test::random_tensor;

namespace {

/// Empty, or how the product by these kernels differs. Both round: any order of summing k products, a bias
/// and what C held has an error of at most (k + 3) u times their magnitudes (see test_gemm.cpp), and gemm_ref
/// a rounding to float.
std::string check(const FloatKernels& kernels, GemmShape s, std::uint64_t seed) {
  const Tensor a = random_tensor({s.m, s.k}, 5 * seed), b = random_tensor({s.k, s.n}, 5 * seed + 1),
               column_bias = random_tensor({s.m}, 5 * seed + 2),
               row_bias = random_tensor({s.n}, 5 * seed + 3);
  Tensor c = random_tensor({s.m, s.n}, 5 * seed + 4), expected = c, magnitude = c, aa = a, bb = b;
  for (Tensor* t : {&magnitude, &aa, &bb})
    for (real& v : t->values()) v = std::abs(v);
  s = with_strides(s);
  if (!s.accumulate) {
    s.column_bias = column_bias.data();
    s.row_bias = row_bias.data();
    for (std::int64_t i = 0; i < c.size(); ++i) {
      expected[i] = column_bias[i / s.n] + row_bias[i % s.n];
      magnitude[i] = std::abs(column_bias[i / s.n]) + std::abs(row_bias[i % s.n]);
    }
    c = Tensor({s.m, s.n}, std::nanf(""));  // must not be read
  }
  GemmShape plain = s;
  plain.accumulate = true;
  plain.column_bias = plain.row_bias = nullptr;
  gemm_ref(plain, a.data(), b.data(), expected.data());
  gemm_ref(plain, aa.data(), bb.data(), magnitude.data());
  gemm_packed(kernels, s, a.data(), b.data(), c.data());
  for (std::int64_t i = 0; i < c.size(); ++i)
    if (!(std::abs(c[i] - expected[i]) <= double(s.k + 4) / (1 << 24) * double(magnitude[i])))
      return concat(kernels.name, ", m ", s.m, ", n ", s.n, ", k ", s.k, ", transposes ", s.transpose_a,
                    s.transpose_b, ", accumulate ", s.accumulate, ": element ", i, " is ", c[i],
                    " instead of ", expected[i]);
  return "";
}

template <typename Body>
void for_each_table(Body body) {
  for (const FloatKernels* kernels : float_kernel_tables())
    if (kernels->is_supported()) body(*kernels);
}

void check_all_forms(const FloatKernels& kernels, std::int64_t m, std::int64_t n, std::int64_t k) {
  for (int form = 0; form < 8; ++form)
    CHECK(check(kernels, {m, n, k, (form & 1) != 0, (form & 2) != 0, (form & 4) != 0},
                std::uint64_t(m + 7 * n + 31 * k)) == "");
}

}  // namespace

TEST_CASE("packed products: ragged sizes, narrow and wide, in all forms") {
  for_each_table([](const FloatKernels& kernels) {
    for (const std::int64_t m : {1, 2, 5, 6, 8, 11, 13, 25})
      for (const std::int64_t n : {1, 3, 4, 7, 15, 16, 17, 20, 31, 48, 63, 65, 130})
        check_all_forms(kernels, m, n, 1 + (m * n) % 23);
  });
}

TEST_CASE("packed products: k of one, long k, and more columns than are packed at once") {
  for_each_table([](const FloatKernels& kernels) {
    check_all_forms(kernels, 14, 37, 1);
    for (const std::int64_t k : {255, 256, 257, 1000}) check_all_forms(kernels, 9, 21, k);
    check_all_forms(kernels, 3, 2100, 40);
    check_all_forms(kernels, 2100, 5, 40);
    check_all_forms(kernels, 17, 700, 300);
  });
}

TEST_CASE("packed products: an element has the same bits among other rows and columns") {
  for_each_table([](const FloatKernels& kernels) {
    for (int form = 0; form < 4; ++form) {
      // m and n from far below to far above each other: some are computed as transposed products.
      const std::int64_t m = 40, n = 50, k = 300;
      const bool ta = form & 1, tb = form & 2;
      const Tensor a = random_tensor({m * k}, 1), b = random_tensor({k * n}, 2), bias = random_tensor({n}, 3);
      GemmShape s{.m = m, .n = n, .k = k, .transpose_a = ta, .transpose_b = tb, .row_bias = bias.data()};
      s = with_strides(s);
      Tensor whole({m, n}), part({m, n}, 7);
      gemm_packed(kernels, s, a.data(), b.data(), whole.data());
      int wrong = 0;
      for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{1, 50}, {40, 1}, {7, 23}}) {
        s.m = rows;
        s.n = columns;
        gemm_packed(kernels, s, a.data(), b.data(), part.data());
        for (std::int64_t i = 0; i < rows; ++i)
          for (std::int64_t j = 0; j < columns; ++j) wrong += part.at({i, j}) != whole.at({i, j});
      }
      CAPTURE(kernels.name);
      CAPTURE(form);
      CHECK(wrong == 0);
    }
  });
}
