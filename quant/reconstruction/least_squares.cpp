#include "quant/reconstruction/least_squares.h"

#include <algorithm>

#include "quant/reconstruction/cholesky.h"
#include "quant/reconstruction/code_search.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

constexpr double kLeastLambda = 1e-6;  // where none is asked for but a definite matrix is needed
constexpr double kLargestLambda = 1e6;
constexpr double kLeastDiagonal = 1e-30;  // of inputs that are all zero

/// Moments with a penalty, and the factors of their Grams.
struct Definite {
  LayerMoments moments;
  std::vector<std::vector<double>> factors;  // by group

  /// The weights of least error of an output.
  std::vector<double> least(std::int64_t output) const {
    const std::int64_t n = moments.inputs;
    std::vector<double> w(moments.cross.begin() + output * n, moments.cross.begin() + (output + 1) * n);
    solve(factors[std::size_t(moments.group_of(output))], n, w.data());
    return w;
  }
};

/// With lambda, or so many times ten of it as it takes: Grams that were summed in float may lack a little to
/// being positive definite.
Definite make_definite(const LayerMoments& m, const Tensor& towards, double lambda, int threads) {
  const std::int64_t n = m.inputs;
  for (;; lambda *= 10) {
    Definite definite{held(m, towards, lambda), {}};
    bool succeeded = true;
    for (std::int64_t g = 0; g < m.groups && succeeded; ++g) {
      const auto gram = definite.moments.gram.begin() + g * n * n;
      succeeded = factorize(definite.factors.emplace_back(gram, gram + n * n), n, threads);
    }
    if (succeeded) return definite;
    require(lambda < kLargestLambda, "least squares", "moments that are not finite");
  }
}

}  // namespace

LayerMoments held(const LayerMoments& m, const Tensor& towards, double lambda) {
  const std::int64_t n = m.inputs;
  double diagonal = 0;
  for (std::int64_t g = 0; g < m.groups; ++g)
    for (std::int64_t i = 0; i < n; ++i) diagonal += m.gram[std::size_t((g * n + i) * n + i)];
  return regularized(m, towards, lambda * std::max(diagonal / double(m.groups * n), kLeastDiagonal));
}

Tensor ridge(const Tensor& start, const LayerMoments& m, double lambda, int threads) {
  const std::int64_t n = m.inputs;
  const Definite definite = make_definite(m, start, lambda, threads);
  Tensor result = Tensor::uninitialized(start.shape());
  parallel_for(m.outputs, threads, [&](std::int64_t o) {
    const std::vector<double> w = definite.least(o);
    std::copy(w.begin(), w.end(), result.data() + o * n);
  });
  return result;
}

Tensor descend(const Tensor& start, const LayerMoments& m, const WeightGrid& grid, bool pairs, int threads) {
  const std::int64_t n = m.inputs;
  const Definite definite = make_definite(m, start, kLeastLambda, threads);
  std::vector<std::vector<double>> upper;
  for (const std::vector<double>& factor : definite.factors) upper.push_back(transposed(factor, n));
  Tensor result = Tensor::uninitialized(start.shape());
  parallel_for(m.outputs, threads, [&](std::int64_t o) {
    const CodeProblem problem{m.gram_of(o), m.cross.data() + o * n, grid, o * n, n};
    const std::vector<real> planned =
        beam_search(problem, upper[std::size_t(m.group_of(o))].data(), definite.least(o).data());
    DescentResult best = coordinate_descent(problem, start.data() + o * n, pairs);
    DescentResult other = coordinate_descent(problem, planned.data(), pairs);
    if (other.error < best.error) best = std::move(other);
    std::ranges::copy(best.values, result.data() + o * n);
  });
  return result;
}

}  // namespace qhv
