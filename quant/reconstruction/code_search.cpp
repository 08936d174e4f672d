#include "quant/reconstruction/code_search.h"

#include <algorithm>
#include <cmath>

#include "quant/reconstruction/cholesky.h"

namespace qhv {
namespace {

constexpr std::size_t kBeam = 8;
constexpr int kSweeps = 50, kPairSweeps = 8;  // at most; the error nearly always stops falling before

class Beam {
 public:
  Beam(const CodeProblem& problem, const double* upper, const double* least)
      : n_(problem.n), upper_(upper), least_(least), grid_(problem.grid), offset_(problem.offset) {}

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
  Descent(const CodeProblem& problem, const real* start)
      : n_(problem.n), gram_(problem.gram), cross_(problem.cross) {
    for (std::int64_t i = 0; i < n_; ++i) {
      step_.push_back(double(problem.grid.step[problem.offset + i]));
      lowest_.push_back(double(problem.grid.lowest[problem.offset + i]));
      highest_.push_back(double(problem.grid.highest[problem.offset + i]));
      code_.push_back(
          std::clamp(std::nearbyint(double(start[i]) / step_.back()), lowest_.back(), highest_.back()));
      slope_.push_back(-cross_[i]);
    }
    for (std::int64_t i = 0; i < n_; ++i)
      if (code_[std::size_t(i)] != 0) add_multiple(value(i), row(i), slope_.data(), n_);
  }

  DescentResult run(bool pairs) {
    for (int round = 0; round < kPairSweeps; ++round) {
      for (int sweep = 0; sweep < kSweeps && this->sweep(); ++sweep) continue;
      if (!pairs || !sweep_pairs()) break;
    }
    DescentResult result;
    for (std::int64_t i = 0; i < n_; ++i) {
      result.values.push_back(real(value(i)));
      result.error += value(i) * (slope_[std::size_t(i)] - cross_[i]);
    }
    return result;
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
    const double enough = -1e-9 * scale();
    bool moved = false;
    for (std::int64_t i = 0; i < n_; ++i)
      for (const double by : {-1.0, 1.0}) {
        if (!may_move(i, by)) continue;
        const double alone = change(i, by), twice = 2 * by * step_[std::size_t(i)];
        double least = enough;
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

  double value(std::int64_t i) const { return code_[std::size_t(i)] * step_[std::size_t(i)]; }
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

std::vector<real> beam_search(const CodeProblem& problem, const double* upper, const double* least) {
  return Beam(problem, upper, least).run();
}

DescentResult coordinate_descent(const CodeProblem& problem, const real* start, bool pairs) {
  return Descent(problem, start).run(pairs);
}

}  // namespace qhv
