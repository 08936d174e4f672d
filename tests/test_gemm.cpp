// Every matrix product kernel of the build against three plain loops, on sizes around those at which
// vectorised and blocked code changes its path.
#include <cmath>
#include <doctest/doctest.h>
#include <iterator>
#include <limits>

#include "tensor/gemm.h"
#include "tensor/rng.h"
#include "tests/support.h"

using namespace qhv;

namespace {

struct RestoreKernel {
  ~RestoreKernel() { select_gemm_kernel(gemm_kernels().front().name); }
};

constexpr std::int64_t kSizes[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 65};

std::string describe(const GemmShape& s) {
  return concat("m ", s.m, ", n ", s.n, ", k ", s.k, s.transpose_a ? ", A^T" : "",
                s.transpose_b ? ", B^T" : "", s.accumulate ? ", accumulate" : "");
}

/// Empty, or how `kernel` differs from the plain loops on random operands.
///
/// Any order of summing k products and what C held rounds each of them at most k + 1 times, so the error is
/// at most (k + 1) u bound, where u = eps / 2 is half an ulp of 1 and bound = sum |a||b| + |c| (Higham,
/// Accuracy and Stability, section 3.1); one more u for rounding the expected value, one for terms in u^2.
/// The reference rounds only once, after a sum in double. With k = 0 there is nothing to round.
std::string check(const GemmKernel& kernel, const GemmShape& s, std::uint64_t seed) {
  const Tensor a = test::random_tensor({s.m * s.k}, 3 * seed),
               b = test::random_tensor({s.k * s.n}, 3 * seed + 1);
  // Unless it is added to, C must not be read: what was there may be anything.
  Tensor c = s.accumulate ? test::random_tensor({s.m, s.n}, 3 * seed + 2)
                          : Tensor({s.m, s.n}, std::numeric_limits<real>::quiet_NaN());
  Tensor expected({s.m, s.n});
  double bound = 0;
  for (std::int64_t i = 0; i < s.m; ++i)
    for (std::int64_t j = 0; j < s.n; ++j) {
      long double sum = s.accumulate ? c.at({i, j}) : 0, magnitude = std::abs(sum);
      for (std::int64_t p = 0; p < s.k; ++p) {
        const long double product = (long double)(a[s.transpose_a ? p * s.m + i : i * s.k + p]) *
                                    (long double)(b[s.transpose_b ? j * s.k + p : p * s.n + j]);
        sum += product;
        magnitude += std::abs(product);
      }
      expected.at({i, j}) = real(sum);
      bound = std::max(bound, double(magnitude));
    }
  const RestoreKernel restore;
  select_gemm_kernel(kernel.name);
  gemm(s, a.data(), b.data(), c.data());

  constexpr double kEps = std::numeric_limits<real>::epsilon();
  const bool once = std::string(kernel.name) == "ref";
  const double unit = (once ? std::numeric_limits<double>::epsilon() : kEps) / 2;
  const double absolute = s.k ? double(s.k + 3) * unit * bound : 0;
  const std::string error = test::difference(c, expected, absolute, s.k && once ? kEps : 0);
  return error.empty() ? "" : concat(kernel.name, ", ", describe(s), ", seed ", seed, ": ", error);
}

/// All transposes, with and without accumulation.
void check_all_forms(const GemmKernel& kernel, std::int64_t m, std::int64_t n, std::int64_t k,
                     std::uint64_t seed) {
  for (int form = 0; form < 8; ++form)
    CHECK(check(kernel, {m, n, k, (form & 1) != 0, (form & 2) != 0, (form & 4) != 0}, seed) == "");
}

}  // namespace

TEST_CASE("gemm: every kernel equals the definition on awkward sizes") {
  constexpr std::uint32_t kCount = std::size(kSizes);
  for (const GemmKernel& kernel : gemm_kernels()) {
    std::uint64_t draw = 0;
    const auto any = [&draw] { return kSizes[random_below(2024, draw++, kCount)]; };
    for (const std::int64_t size : kSizes) {  // each size in each role, with two random others
      check_all_forms(kernel, size, any(), any(), draw);
      check_all_forms(kernel, any(), size, any(), draw);
      check_all_forms(kernel, any(), any(), size, draw);
    }
  }
}

TEST_CASE("gemm: sizes beyond one block of a kernel") {
  for (const GemmKernel& kernel : gemm_kernels()) {
    check_all_forms(kernel, 3, 1030, 5, 1);
    check_all_forms(kernel, 2, 512, 9, 2);
    check_all_forms(kernel, 259, 3, 4, 3);
    check_all_forms(kernel, 5, 6, 1025, 4);
  }
}

TEST_CASE("gemm: empty sums give zero or keep C; empty results are no error") {
  for (const GemmKernel& kernel : gemm_kernels()) {
    check_all_forms(kernel, 3, 5, 0, 5);
    check_all_forms(kernel, 1, 1, 0, 6);
    check_all_forms(kernel, 0, 4, 3, 7);
    check_all_forms(kernel, 4, 0, 3, 8);
    check_all_forms(kernel, 0, 0, 0, 9);
  }
}

TEST_CASE("gemm: rows that lie apart, and biases") {
  const RestoreKernel restore;
  const std::int64_t m = 5, n = 19, k = 7, gap = 3;
  const Tensor column_bias = test::random_tensor({m}, 1), row_bias = test::random_tensor({n}, 2);
  for (const GemmKernel& kernel : gemm_kernels())
    for (int form = 0; form < 8; ++form) {
      GemmShape s{m, n, k, (form & 1) != 0, (form & 2) != 0, (form & 4) != 0};
      const Tensor a = test::random_tensor({s.transpose_a ? k : m, (s.transpose_a ? m : k) + gap}, 3),
                   b = test::random_tensor({s.transpose_b ? n : k, (s.transpose_b ? k : n) + gap}, 4),
                   before = test::random_tensor({m, n + gap}, 5);
      s.a_stride = a.dim(1);
      s.b_stride = b.dim(1);
      s.c_stride = n + gap;
      if (!s.accumulate) s.column_bias = column_bias.data();
      if (!s.accumulate) s.row_bias = row_bias.data();
      Tensor expected = before, c = before;
      for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          double sum =
              s.accumulate ? double(before.at({i, j})) : double(column_bias[i]) + double(row_bias[j]);
          for (std::int64_t p = 0; p < k; ++p)
            sum += double(s.transpose_a ? a.at({p, i}) : a.at({i, p})) *
                   double(s.transpose_b ? b.at({j, p}) : b.at({p, j}));
          expected.at({i, j}) = real(sum);
        }
      select_gemm_kernel(kernel.name);
      gemm(s, a.data(), b.data(), c.data());
      INFO(kernel.name << ", form " << form);
      CHECK(test::difference(c, expected,
                             double(k + 4) * std::numeric_limits<real>::epsilon() * double(k + 2)) == "");
      s.k = 0;
      s.a_stride = s.b_stride = 1;
      gemm(s, a.data(), b.data(), c.data());
      if (!s.accumulate) CHECK(std::abs(c[0] - (column_bias[0] + row_bias[0])) < 1e-6);
    }
  GemmShape both{.m = 1, .n = 1, .k = 1, .accumulate = true, .row_bias = row_bias.data()};
  real one = 1, c = 0;
  CHECK(test::error_of([&] { gemm(both, &one, &one, &c); }) ==
        "invalid_argument: [gemm] accumulation with a bias");
}

TEST_CASE("gemm: a kernel is chosen by name") {
  const RestoreKernel restore;
  CHECK(std::string(gemm_kernels().back().name) == "ref");
  CHECK(gemm_kernel().name == gemm_kernels().front().name);
  std::string known;
  for (const GemmKernel& kernel : gemm_kernels()) {
    known += concat(known.empty() ? "" : ", ", kernel.name);
    select_gemm_kernel(kernel.name);
    CHECK(&gemm_kernel() == &kernel);
    CHECK(kernel.describe() != "");
    const real a[] = {1, 2}, b[] = {3, 4};
    real c = 5;
    gemm({.m = 1, .n = 1, .k = 2, .accumulate = true}, a, b, &c);
    CHECK(c == 16);
  }
  CHECK(test::error_of([] { select_gemm_kernel("mkl"); }) ==
        "invalid_argument: [gemm] no kernel \"mkl\" in this build (it has " + known + ")");
  CHECK(std::string(gemm_kernel().name) == "ref");  // the failed choice changed nothing
}
