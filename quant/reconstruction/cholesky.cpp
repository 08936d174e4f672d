#include "quant/reconstruction/cholesky.h"

#include <algorithm>
#include <cmath>

#include "tensor/parallel.h"
#include "tensor/vectorize.h"

namespace qhv {

QHV_VECTORIZE double dot(const double* a, const double* b, std::int64_t count) {
  return sum(count, [&](std::int64_t i) { return a[i] * b[i]; });
}

QHV_VECTORIZE void add_multiple(double factor, const double* x, double* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] += factor * x[i];
}

bool factorize(std::vector<double>& a, std::int64_t n, int threads) {
  constexpr std::int64_t kBlock = 64;
  for (std::int64_t first = 0; first < n; first += kBlock) {
    const std::int64_t end = std::min(first + kBlock, n);
    for (std::int64_t j = first; j < end; ++j) {
      double* row = a.data() + j * n;
      for (std::int64_t k = first; k < j; ++k)
        row[k] = (row[k] - dot(row, a.data() + k * n, k)) / a[std::size_t(k * n + k)];
      const double pivot = row[j] - dot(row, row, j);
      if (!(pivot > 0)) return false;
      row[j] = std::sqrt(pivot);
    }
    parallel_for((n - end + kBlock - 1) / kBlock, threads, [&](std::int64_t block) {
      const std::int64_t from = end + block * kBlock, to = std::min(from + kBlock, n);
      for (std::int64_t i = from; i < to; ++i) {
        double* row = a.data() + i * n;
        for (std::int64_t k = first; k < end; ++k)
          row[k] = (row[k] - dot(row, a.data() + k * n, k)) / a[std::size_t(k * n + k)];
      }
    });
  }
  return true;
}

std::vector<double> transposed(const std::vector<double>& a, std::int64_t n) {
  std::vector<double> t(a.size());
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j) t[std::size_t(j * n + i)] = a[std::size_t(i * n + j)];
  return t;
}

void solve(const std::vector<double>& l, std::int64_t n, double* b) {
  for (std::int64_t i = 0; i < n; ++i)
    b[i] = (b[i] - dot(l.data() + i * n, b, i)) / l[std::size_t(i * n + i)];
  for (std::int64_t i = n - 1; i >= 0; --i) {
    b[i] /= l[std::size_t(i * n + i)];
    add_multiple(-b[i], l.data() + i * n, b, i);
  }
}

}  // namespace qhv
