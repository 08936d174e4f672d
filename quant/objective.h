// The objective of a search: how far a unit's output is from the float network's, for many candidates of one
// quantiser at once.
//
//   error    sum_i importance_i e_i^2 (+ (sum_i direction_i e_i)^2 by direction and channel), e = output -
//   float output cosine   1 - <o, o^> / (|o| |o^|)     (EasyQuant, arXiv 2006.16669, equation 4), o over all
//   images
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "quant/unit.h"

namespace qhv {

enum class Metric { kError, kCosine };

/// Which quantiser of a unit is varied.
struct Operand {
  static constexpr int kWeight = -1;
  std::size_t layer = 0;  // index into Unit::layers
  int slot = kWeight;     // an input of the layer, or its weight
};

/// What the objective is made of, for one channel; sums of several images add up.
struct Score {
  std::array<double, 3> sums{};  // error: {sum, 0, 0}; cosine: {<o, o^>, <o, o>, <o^, o^>}

  void add(const Score& other) {
    for (std::size_t i = 0; i < 3; ++i) sums[i] += other.sums[i];
  }
  /// Smaller is better.
  double value(Metric metric) const;
};

/// Scores by candidate and channel of the unit's output (output_axis).
using ScoreTable = std::vector<std::vector<Score>>;

class UnitEvaluator {
 public:
  /// All arguments must outlive the evaluator.
  UnitEvaluator(const Graph& graph, const Unit& unit, std::span<const UnitSample> samples, Metric metric,
                int threads);

  int images() const { return int(samples_.size()); }
  std::size_t channels() const { return channels_; }
  Metric metric() const { return metric_; }

  /// Scores over the first `images` images when the operand's quantiser is each of the candidates and all
  /// others are those of `quantizers`.
  ScoreTable score(const std::vector<LayerQuantizers>& quantizers, Operand operand,
                   std::span<const Quantizer> candidates, int images) const;

  /// Candidates times images that score() has looked at.
  std::int64_t evaluations() const { return evaluations_; }

  /// The objective over all images and channels.
  double objective(const std::vector<LayerQuantizers>& quantizers) const;

 private:
  struct Prepared;
  Tensor weight_of(std::size_t layer, const Quantizer& q, const std::vector<float>& equalization) const;

  const Graph& graph_;
  const Unit& unit_;
  std::span<const UnitSample> samples_;
  Metric metric_;
  int threads_;
  int axis_ = 1;
  std::size_t channels_ = 0;
  mutable std::int64_t evaluations_ = 0;
};

/// Scores of outputs against the float one, by output and index of `axis`.
std::vector<std::vector<Score>> score_outputs(std::span<const Tensor> outputs, const UnitSample& sample,
                                              int axis, Metric metric);

}  // namespace qhv
