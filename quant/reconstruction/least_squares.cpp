#include "quant/reconstruction/least_squares.h"

#include <algorithm>
#include <cmath>

#include "tensor/parallel.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

constexpr std::size_t kBeam = 8;
constexpr double kLeastLambda = 1e-6;         // that makes any moments positive definite
constexpr int kSweeps = 50, kPairSweeps = 8;  // at most; the error nearly always stops falling before

QHV_VECTORIZE double dot(const double* a, const double* b, std::int64_t count) {
  return sum(count, [&](std::int64_t i) { return a[i] * b[i]; });
}

QHV_VECTORIZE void add_multiple(double factor, const double* x, double* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] += factor * x[i];
}

/// The lower triangle L with L L^T = a, in place of it.
void factorize(std::vector<double>& a, std::int64_t n, int threads) {
  constexpr std::int64_t kBlock = 64;
  for (std::int64_t first = 0; first < n; first += kBlock) {
    const std::int64_t end = std::min(first + kBlock, n);
    for (std::int64_t j = first; j < end; ++j) {
      double* row = a.data() + j * n;
      for (std::int64_t k = first; k < j; ++k)
        row[k] = (row[k] - dot(row, a.data() + k * n, k)) / a[std::size_t(k * n + k)];
      const double pivot = row[j] - dot(row, row, j);
      require(pivot > 0, "ridge", "the inputs' moments are not positive definite; a larger lambda is needed");
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
}

std::vector<double> transposed(const std::vector<double>& a, std::int64_t n) {
  std::vector<double> t(a.size());
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j) t[std::size_t(j * n + i)] = a[std::size_t(i * n + j)];
  return t;
}

/// x with L L^T x = b, in place of b.
void solve(const std::vector<double>& l, std::int64_t n, double* b) {
  for (std::int64_t i = 0; i < n; ++i)
    b[i] = (b[i] - dot(l.data() + i * n, b, i)) / l[std::size_t(i * n + i)];
  for (std::int64_t i = n - 1; i >= 0; --i) {
    b[i] /= l[std::size_t(i * n + i)];
    add_multiple(-b[i], l.data() + i * n, b, i);
  }
}

/// The codes of one output, coordinate by coordinate from the last one: with G = L L^T and w* where the error
/// is least, the error is its least value and
///
///   sum_i (L_ii (w_i - w*_i) + sum_{j > i} L_ji (w_j - w*_j))^2
///
/// whose i-th term depends on w_i and on what is decided already. Of all beginnings the kBeam best go on,
/// each with the two codes that suit it best; with one it would be Babai's nearest plane, or GPTQ (arXiv
/// 2210.17323).
class Beam {
 public:
  /// `upper` is L^T by rows.
  Beam(const double* upper, const double* least, const WeightGrid& grid, std::int64_t offset, std::int64_t n)
      : n_(n), upper_(upper), least_(least), grid_(grid), offset_(offset) {}

  /// The values of the best end.
  std::vector<real> run() {
    beginnings_ = {{0, std::vector<double>(std::size_t(n_))}};
    for (std::int64_t i = n_ - 1; i >= 0; --i) decide(i);
    std::vector<real> values;
    for (std::int64_t i = 0; i < n_; ++i)
      values.push_back(real(beginnings_[0].distance[std::size_t(i)] + least_[i]));
    return values;
  }

 private:
  struct Beginning {
    double error = 0;
    std::vector<double> distance;  // w_j - w*_j of the decided coordinates
  };
  struct Step {
    double error;
    std::size_t from;
    double distance;
  };

  void decide(std::int64_t i) {
    const double step = double(grid_.step[offset_ + i]), lowest = double(grid_.lowest[offset_ + i]),
                 highest = double(grid_.highest[offset_ + i]), pivot = upper_[i * n_ + i];
    steps_.clear();
    for (std::size_t b = 0; b < beginnings_.size(); ++b) {
      const Beginning& beginning = beginnings_[b];
      const double pull = dot(upper_ + i * n_ + i + 1, beginning.distance.data() + i + 1, n_ - i - 1) / pivot;
      const double wanted = (least_[i] - pull) / step, below = std::floor(wanted);
      for (const double code : {std::clamp(below, lowest, highest), std::clamp(below + 1, lowest, highest)}) {
        const double distance = code * step - least_[i], miss = pivot * (distance + pull);
        steps_.push_back({beginning.error + miss * miss, b, distance});
        if (lowest >= below + 1 || highest <= below) break;  // both are the same code
      }
    }
    const std::size_t kept = std::min(kBeam, steps_.size());
    std::stable_sort(steps_.begin(), steps_.end(),
                     [](const Step& a, const Step& b) { return a.error < b.error; });
    std::vector<Beginning> next;
    for (std::size_t k = 0; k < kept; ++k) {
      next.push_back({steps_[k].error, beginnings_[steps_[k].from].distance});
      next.back().distance[std::size_t(i)] = steps_[k].distance;
    }
    beginnings_ = std::move(next);
  }

  std::int64_t n_;
  const double *upper_, *least_;
  const WeightGrid& grid_;
  std::int64_t offset_;
  std::vector<Beginning> beginnings_;
  std::vector<Step> steps_;
};

/// One output of a layer, on its way down.
class Descent {
 public:
  Descent(const double* gram, const double* cross, const real* start, const WeightGrid& grid,
          std::int64_t offset, std::int64_t n)
      : n_(n), gram_(gram), cross_(cross), slope_(cross, cross + n) {
    for (std::int64_t i = 0; i < n; ++i) {
      step_.push_back(double(grid.step[offset + i]));
      lowest_.push_back(double(grid.lowest[offset + i]));
      highest_.push_back(double(grid.highest[offset + i]));
      code_.push_back(
          std::clamp(std::nearbyint(double(start[i]) / step_.back()), lowest_.back(), highest_.back()));
      slope_[std::size_t(i)] *= -1;
    }
    for (std::int64_t i = 0; i < n; ++i)
      if (code_[std::size_t(i)] != 0) add_multiple(value(i), row(i), slope_.data(), n);
  }

  void run(bool pairs) {
    for (int round = 0; round < kPairSweeps; ++round) {
      for (int sweep = 0; sweep < kSweeps && this->sweep(); ++sweep) continue;
      if (!pairs || !sweep_pairs()) break;
    }
  }

  double value(std::int64_t i) const { return code_[std::size_t(i)] * step_[std::size_t(i)]; }

  /// But for a constant.
  double error() const {
    double sum = 0;
    for (std::int64_t i = 0; i < n_; ++i) sum += value(i) * (slope_[std::size_t(i)] - cross_[i]);
    return sum;
  }

 private:
  /// Every coordinate once. Whether one moved.
  bool sweep() {
    bool moved = false;
    for (std::int64_t i = 0; i < n_; ++i) {
      const double curvature = row(i)[i] * step_[std::size_t(i)];
      if (!(curvature > 0)) continue;
      const double wanted = code_[std::size_t(i)] - slope_[std::size_t(i)] / curvature;
      const double code =
          std::clamp(std::nearbyint(wanted), lowest_[std::size_t(i)], highest_[std::size_t(i)]);
      if (code == code_[std::size_t(i)]) continue;
      if (std::abs(code - wanted) >= std::abs(code_[std::size_t(i)] - wanted)) continue;  // a tie
      move(i, code - code_[std::size_t(i)]);
      moved = true;
    }
    return moved;
  }

  /// For every coordinate the best pair of steps that it is part of. Whether one moved.
  bool sweep_pairs() {
    bool moved = false;
    for (std::int64_t i = 0; i < n_; ++i)
      for (const double by : {-1.0, 1.0}) {
        if (!may_move(i, by)) continue;
        const double alone = change(i, by), twice = 2 * by * step_[std::size_t(i)];
        double least = -1e-9 * scale();
        std::int64_t other = -1;
        double other_by = 0;
        for (std::int64_t j = 0; j < n_; ++j) {
          if (j == i) continue;
          const double coupling = twice * step_[std::size_t(j)] * row(i)[j];
          for (const double d : {-1.0, 1.0}) {
            const double total = alone + change(j, d) + d * coupling;
            if (total >= least || !may_move(j, d)) continue;
            least = total, other = j, other_by = d;
          }
        }
        if (other < 0) continue;
        move(i, by);
        move(other, other_by);
        moved = true;
      }
    return moved;
  }

  const double* row(std::int64_t i) const { return gram_ + i * n_; }
  bool may_move(std::int64_t i, double by) const {
    const double code = code_[std::size_t(i)] + by;
    return code >= lowest_[std::size_t(i)] && code <= highest_[std::size_t(i)];
  }
  /// Of the error, by a step of one coordinate.
  double change(std::int64_t i, double by) const {
    const double d = by * step_[std::size_t(i)];
    return d * (2 * slope_[std::size_t(i)] + d * row(i)[i]);
  }
  void move(std::int64_t i, double by) {
    code_[std::size_t(i)] += by;
    add_multiple(by * step_[std::size_t(i)], row(i), slope_.data(), n_);
  }
  /// A magnitude next to which a change counts for nothing.
  double scale() const {
    double largest = 0;
    for (std::int64_t i = 0; i < n_; ++i)
      largest = std::max(largest, row(i)[i] * step_[std::size_t(i)] * step_[std::size_t(i)]);
    return largest;
  }

  std::int64_t n_;
  const double *gram_, *cross_;
  std::vector<double> slope_;  // half of the error's gradient, G w - c
  std::vector<double> step_, lowest_, highest_, code_;
};

}  // namespace

LayerMoments held(const LayerMoments& m, const Tensor& towards, double lambda) {
  const std::int64_t n = m.inputs;
  double diagonal = 0;
  for (std::int64_t g = 0; g < m.groups; ++g)
    for (std::int64_t i = 0; i < n; ++i) diagonal += m.gram[std::size_t((g * n + i) * n + i)];
  return regularized(m, towards, lambda * diagonal / double(m.groups * n));
}

Tensor ridge(const Tensor& start, const LayerMoments& m, double lambda, int threads) {
  const std::int64_t n = m.inputs, of_group = m.outputs / m.groups;
  const LayerMoments penalized = held(m, start, lambda);
  Tensor result = Tensor::uninitialized(start.shape());
  for (std::int64_t g = 0; g < m.groups; ++g) {
    std::vector<double> factor(penalized.gram.begin() + g * n * n, penalized.gram.begin() + (g + 1) * n * n);
    factorize(factor, n, threads);
    parallel_for(of_group, threads, [&](std::int64_t k) {
      const std::int64_t o = g * of_group + k;
      std::vector<double> w(penalized.cross.begin() + o * n, penalized.cross.begin() + (o + 1) * n);
      solve(factor, n, w.data());
      std::copy(w.begin(), w.end(), result.data() + o * n);
    });
  }
  return result;
}

Tensor descend(const Tensor& start, const LayerMoments& m, const WeightGrid& grid, bool pairs, int threads) {
  const std::int64_t n = m.inputs, of_group = m.outputs / m.groups;
  const LayerMoments definite = held(m, start, kLeastLambda);
  Tensor result = Tensor::uninitialized(start.shape());
  for (std::int64_t g = 0; g < m.groups; ++g) {
    std::vector<double> factor(definite.gram.begin() + g * n * n, definite.gram.begin() + (g + 1) * n * n);
    factorize(factor, n, threads);
    const std::vector<double> upper = transposed(factor, n);
    parallel_for(of_group, threads, [&](std::int64_t k) {
      const std::int64_t o = g * of_group + k, offset = o * n;
      std::vector<double> least(definite.cross.begin() + offset, definite.cross.begin() + offset + n);
      solve(factor, n, least.data());
      const std::vector<real> planned = Beam(upper.data(), least.data(), grid, offset, n).run();
      Descent best(m.gram_of(o), m.cross.data() + offset, start.data() + offset, grid, offset, n),
          other(m.gram_of(o), m.cross.data() + offset, planned.data(), grid, offset, n);
      best.run(pairs);
      other.run(pairs);
      if (other.error() < best.error()) best = other;
      for (std::int64_t i = 0; i < n; ++i) result[offset + i] = real(best.value(i));
    });
  }
  return result;
}

}  // namespace qhv
