#include "quant/objective.h"

#include <algorithm>
#include <cmath>

#include "nn/run.h"
#include "quant/equalize.h"
#include "tensor/parallel.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

constexpr std::int64_t kStrip = 1024;  // of an error: a few stay in the first-level cache
constexpr std::int64_t kWidth = 64;    // channels of a strip of several positions
constexpr std::int64_t kTogether = 4;  // outputs that are scored side by side

QHV_VECTORIZE void subtract(const real* a, const real* b, real* e, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) e[i] = a[i] - b[i];
}
/// Sum of term(i) over a strip, in 32 lanes that are joined in a fixed order. A lane has at most 32 terms, so
/// single precision loses less than 32 * 2^-24 = 2e-6 of the sum of magnitudes; strips are added up in
/// double.
template <typename Term>
inline double strip_sum(std::int64_t count, Term term) {
  constexpr std::int64_t kLanes = 32;
  real lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  for (std::int64_t lane = 0; i < count; ++i, ++lane) lanes[lane] += term(i);
  double total = 0;
  for (const real lane : lanes) total += double(lane);
  return total;
}
QHV_VECTORIZE double weighted_square(const real* e, const real* weight, std::int64_t count) {
  return strip_sum(count, [&](std::int64_t i) { return weight[i] * e[i] * e[i]; });
}
QHV_VECTORIZE double product(const real* a, const real* b, std::int64_t count) {
  return strip_sum(count, [&](std::int64_t i) { return a[i] * b[i]; });
}
QHV_VECTORIZE double dot(const real* a, const real* b, std::int64_t count) {
  return sum(count, [&](std::int64_t i) { return double(a[i]) * double(b[i]); });
}
/// sums[c] += the sum of term(row, c) over a few rows, where neighbours belong to different channels: over
/// the rows in single precision, of which the same holds as of strip_sum.
template <typename Term>
inline void add_column_sums(std::int64_t rows, std::int64_t width, double* sums, Term term) {
  constexpr std::int64_t kLanes = 16;
  std::int64_t c = 0;
  for (; c + kLanes <= width; c += kLanes) {
    real lanes[kLanes] = {};
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(row, c + lane);
    for (std::int64_t lane = 0; lane < kLanes; ++lane) sums[c + lane] += double(lanes[lane]);
  }
  for (; c < width; ++c) {
    real total = 0;
    for (std::int64_t row = 0; row < rows; ++row) total += term(row, c);
    sums[c] += double(total);
  }
}
/// Errors have kWidth elements a row, what weighs them `stride`.
QHV_VECTORIZE void add_weighted_squares(const real* e, const real* weight, std::int64_t stride,
                                        std::int64_t rows, std::int64_t width, double* sums) {
  add_column_sums(rows, width, sums, [&](std::int64_t row, std::int64_t c) {
    return weight[row * stride + c] * e[row * kWidth + c] * e[row * kWidth + c];
  });
}
QHV_VECTORIZE void add_squares(const real* e, std::int64_t rows, std::int64_t width, double* sums) {
  add_column_sums(rows, width, sums, [&](std::int64_t row, std::int64_t c) {
    return e[row * kWidth + c] * e[row * kWidth + c];
  });
}
QHV_VECTORIZE void add_products(const real* e, const real* direction, std::int64_t stride, std::int64_t rows,
                                std::int64_t width, double* sums) {
  add_column_sums(rows, width, sums, [&](std::int64_t row, std::int64_t c) {
    return direction[row * stride + c] * e[row * kWidth + c];
  });
}

}  // namespace

double Score::value(Metric metric) const {
  if (metric == Metric::kError) return sums[0];
  const double norms = std::sqrt(sums[1] * sums[2]);
  return norms > 0 ? 1 - sums[0] / norms : sums[1] == sums[2] ? 0 : 1;
}

namespace {

/// The sums of the errors of several outputs by channel. What the sample holds is read once for all of them,
/// a strip at a time: it is several times as much as an output, and comes from memory.
class ErrorSums {
 public:
  ErrorSums(std::span<const Tensor> outputs, const UnitSample& sample, std::size_t channels)
      : outputs_(outputs),
        sample_(sample),
        channels_(std::int64_t(channels)),
        sums_(outputs.size(), std::vector<double>((1 + sample.directions.size()) * channels, 0.0)),
        strips_(outputs.size()) {}

  /// Elements first .. first+count-1, all of channel `c`.
  void add_row(std::int64_t c, std::int64_t first, std::int64_t count) {
    for (std::int64_t at = first; at < first + count; at += kStrip) {
      const std::int64_t width = std::min(kStrip, first + count - at);
      subtract_outputs(at, width, 0);
      for_each_sum(at, [&](std::size_t i, std::int64_t kind, const real* weight) {
        const real* e = strips_[i].data();
        sums_[i][std::size_t(kind * channels_ + c)] += kind > 0 ? product(weight, e, width)
                                                       : weight ? weighted_square(e, weight, width)
                                                                : product(e, e, width);
      });
    }
  }

  /// `positions` elements of each channel, those of a position side by side.
  void add_positions(std::int64_t positions) {
    constexpr std::int64_t kRows = kStrip / kWidth;
    for (std::int64_t position = 0; position < positions; position += kRows)
      for (std::int64_t c = 0; c < channels_; c += kWidth) {
        const std::int64_t at = position * channels_ + c, width = std::min(kWidth, channels_ - c);
        const std::int64_t rows = std::min(kRows, positions - position);
        for (std::int64_t row = 0; row < rows; ++row)
          subtract_outputs(at + row * channels_, width, row * kWidth);
        for_each_sum(at, [&](std::size_t i, std::int64_t kind, const real* weight) {
          const real* e = strips_[i].data();
          double* sums = sums_[i].data() + kind * channels_ + c;
          if (kind > 0)
            add_products(e, weight, channels_, rows, width, sums);
          else if (weight)
            add_weighted_squares(e, weight, channels_, rows, width, sums);
          else
            add_squares(e, rows, width, sums);
        });
      }
  }

  std::vector<std::vector<Score>> scores() const {
    std::vector<std::vector<Score>> result(sums_.size(), std::vector<Score>(std::size_t(channels_)));
    for (std::size_t i = 0; i < sums_.size(); ++i)
      for (std::size_t k = 0; k < sums_[i].size(); ++k) {
        const double sum = sums_[i][k];
        result[i][k % std::size_t(channels_)].sums[0] += k < std::size_t(channels_) ? sum : sum * sum;
      }
    return result;
  }

 private:
  /// Elements from `at` on, to place `to` of the strips.
  void subtract_outputs(std::int64_t at, std::int64_t width, std::int64_t to) {
    for (std::size_t i = 0; i < outputs_.size(); ++i)
      subtract(outputs_[i].data() + at, sample_.output.data() + at, strips_[i].data() + to, width);
  }

  /// body(output, kind, weight): kind 0 is the sum of importance e^2, of which the importance may be null;
  /// kind d that of e times the direction d - 1.
  template <typename Body>
  void for_each_sum(std::int64_t at, Body body) {
    const real* importance = sample_.importance.values().empty() ? nullptr : sample_.importance.data() + at;
    for (std::size_t i = 0; i < outputs_.size(); ++i) body(i, 0, importance);
    for (std::size_t d = 0; d < sample_.directions.size(); ++d)
      for (std::size_t i = 0; i < outputs_.size(); ++i)
        body(i, std::int64_t(d) + 1, sample_.directions[d].data() + at);
  }

  std::span<const Tensor> outputs_;
  const UnitSample& sample_;
  std::int64_t channels_;
  std::vector<std::vector<double>> sums_;  // by output; kind after kind, by channel
  std::vector<std::array<real, kStrip>> strips_;
};

std::vector<Score> cosine_sums(const Tensor& output, const Tensor& exact, std::size_t channels,
                               std::int64_t inner) {
  std::vector<Score> scores(channels);
  for (std::int64_t row = 0; row < exact.size() / inner; ++row) {
    const real *a = output.data() + row * inner, *b = exact.data() + row * inner;
    std::array<double, 3>& sums = scores[std::size_t(row) % channels].sums;
    sums[0] += dot(a, b, inner);
    sums[1] += dot(b, b, inner);
    sums[2] += dot(a, a, inner);
  }
  return scores;
}

}  // namespace

std::vector<std::vector<Score>> score_outputs(std::span<const Tensor> outputs, const UnitSample& sample,
                                              int axis, Metric metric) {
  const Tensor& o = sample.output;
  for (const Tensor& output : outputs)
    require(output.shape() == o.shape(), "score", "output ", output.shape(), ", float output ", o.shape());
  const std::int64_t channels = o.dim(axis);
  const std::int64_t inner = inner_count(o.shape(), axis);
  if (metric == Metric::kCosine) {
    std::vector<std::vector<Score>> scores;
    for (const Tensor& output : outputs)
      scores.push_back(cosine_sums(output, o, std::size_t(channels), inner));
    return scores;
  }
  ErrorSums sums(outputs, sample, std::size_t(channels));
  if (inner == 1)
    sums.add_positions(o.size() / channels);
  else
    for (std::int64_t row = 0; row < o.size() / inner; ++row)
      sums.add_row(row % channels, row * inner, inner);
  return sums.scores();
}

/// What all candidates of an operand share for one image: the values of the unit's nodes before the layer,
/// and the layer's inputs, quantised but for the one that is varied.
struct UnitEvaluator::Prepared {
  std::vector<Tensor> values;  // by node - range.begin, up to the layer
  std::vector<Tensor> inputs;
};

namespace {

/// Runs nodes of a unit for one image.
struct UnitRun {
  const Graph& graph;
  const Unit& unit;
  const UnitSample& sample;
  std::vector<const Tensor*> values;  // by node - range.begin

  const Tensor& value(int node) const {
    if (node >= unit.range.begin) return *values[std::size_t(node - unit.range.begin)];
    const auto at = std::ranges::find(unit.externals, node) - unit.externals.begin();
    return sample.externals[std::size_t(at)];
  }
  std::vector<const Tensor*> inputs(int node) const {
    std::vector<const Tensor*> result;
    for (const int input : graph.nodes[std::size_t(node)].inputs) result.push_back(&value(input));
    return result;
  }
  /// `weight`: in place of the graph's, or null.
  Tensor run(int node, std::span<const Tensor* const> inputs, const Tensor* weight) const {
    const Node& n = graph.nodes[std::size_t(node)];
    std::vector<const Tensor*> params;
    for (const int p : n.params) params.push_back(&graph.params[std::size_t(p)].value);
    if (weight) params[0] = weight;
    return run_node(n, inputs, params);
  }
};

std::vector<const Tensor*> pointers_to(const std::vector<Tensor>& tensors) {
  std::vector<const Tensor*> result;
  for (const Tensor& t : tensors) result.push_back(&t);
  return result;
}

std::vector<Tensor> quantized_inputs(const std::vector<const Tensor*>& inputs,
                                     const std::vector<Quantizer>& q, int except = -1) {
  std::vector<Tensor> result;
  for (std::size_t slot = 0; slot < inputs.size(); ++slot)
    result.push_back(int(slot) == except ? *inputs[slot] : fake_quantize(*inputs[slot], q[slot]));
  return result;
}

}  // namespace

UnitEvaluator::UnitEvaluator(const Graph& graph, const Unit& unit, std::span<const UnitSample> samples,
                             Metric metric, int threads)
    : graph_(graph), unit_(unit), samples_(samples), metric_(metric), threads_(threads) {
  require(!samples.empty(), "search", "no samples");
  const Tensor& output = samples[0].output;
  axis_ = output_axis(graph, unit.output(), output.rank());
  channels_ = std::size_t(output.dim(axis_));
}

Tensor UnitEvaluator::weight_of(std::size_t layer, const Quantizer& q,
                                const std::vector<float>& equalization) const {
  const Node& node = graph_.nodes[std::size_t(unit_.layers[layer])];
  if (node.params.empty()) return Tensor();
  return fake_quantize_weight(graph_.params[std::size_t(node.params[0])].value, q, equalization);
}

ScoreTable UnitEvaluator::score(const std::vector<LayerQuantizers>& quantizers, Operand operand,
                                std::span<const Quantizer> candidates, int images) const {
  const int begin = unit_.range.begin, node = unit_.layers[operand.layer];
  std::vector<Tensor> weights;  // of the layers as they stand
  for (std::size_t i = 0; i < unit_.layers.size(); ++i)
    weights.push_back(weight_of(i, quantizers[i].weight, quantizers[i].equalization));
  const auto layer_of = [&](int n) {
    const auto at = std::ranges::find(unit_.layers, n);
    return at == unit_.layers.end() ? -1 : int(at - unit_.layers.begin());
  };
  const auto run_inner = [&](const UnitRun& run, int n) {
    const int layer = layer_of(n);
    if (layer < 0) return run.run(n, run.inputs(n), nullptr);
    const std::vector<Tensor> inputs = quantized_inputs(run.inputs(n), quantizers[std::size_t(layer)].inputs);
    const Tensor& weight = weights[std::size_t(layer)];
    return run.run(n, pointers_to(inputs), weight.values().empty() ? nullptr : &weight);
  };

  std::vector<Prepared> prepared{std::size_t(images)};
  parallel_for(images, threads_, [&](std::int64_t i) {
    Prepared& p = prepared[std::size_t(i)];
    UnitRun run{graph_, unit_, samples_[std::size_t(i)], {}};
    for (int n = begin; n < node; ++n) {
      p.values.push_back(run_inner(run, n));
      run.values = pointers_to(p.values);
    }
    p.inputs = quantized_inputs(run.inputs(node), quantizers[operand.layer].inputs, operand.slot);
  });

  const bool varies_weight = operand.slot == Operand::kWeight;
  std::vector<Tensor> rounded(candidates.size());
  if (varies_weight)
    parallel_for(std::int64_t(candidates.size()), threads_, [&](std::int64_t c) {
      rounded[std::size_t(c)] =
          weight_of(operand.layer, candidates[std::size_t(c)], quantizers[operand.layer].equalization);
    });

  const auto output_of = [&](std::size_t image, std::size_t candidate) {
    const Prepared& p = prepared[image];
    std::vector<const Tensor*> inputs = pointers_to(p.inputs);
    Tensor varied;
    if (!varies_weight) {
      varied = fake_quantize(*inputs[std::size_t(operand.slot)], candidates[candidate]);
      inputs[std::size_t(operand.slot)] = &varied;
    }
    const Tensor& weight = varies_weight ? rounded[candidate] : weights[operand.layer];
    UnitRun run{graph_, unit_, samples_[image], pointers_to(p.values)};
    std::vector<Tensor> after;  // the layer and what follows
    after.reserve(std::size_t(unit_.range.end - node));
    after.push_back(run.run(node, inputs, weight.values().empty() ? nullptr : &weight));
    run.values.push_back(&after.back());
    for (int n = node + 1; n < unit_.range.end; ++n) {
      after.push_back(run_inner(run, n));
      run.values.push_back(&after.back());
    }
    return std::move(after.back());
  };

  const std::int64_t count = std::int64_t(candidates.size()), groups = (count + kTogether - 1) / kTogether;
  evaluations_ += count * images;
  std::vector<std::vector<std::vector<Score>>> items(
      std::size_t(groups * images));  // by candidate in the group
  parallel_for(groups * images, threads_, [&](std::int64_t item) {
    const std::int64_t first = item % groups * kTogether;
    std::vector<Tensor> outputs;
    for (std::int64_t c = first; c < std::min(first + kTogether, count); ++c)
      outputs.push_back(output_of(std::size_t(item / groups), std::size_t(c)));
    items[std::size_t(item)] = score_outputs(outputs, samples_[std::size_t(item / groups)], axis_, metric_);
  });

  ScoreTable table(candidates.size(), std::vector<Score>(channels_));
  for (std::int64_t item = 0; item < std::ssize(items); ++item)
    for (std::size_t i = 0; i < items[std::size_t(item)].size(); ++i)
      for (std::size_t c = 0; c < channels_; ++c)
        table[std::size_t(item % groups * kTogether) + i][c].add(items[std::size_t(item)][i][c]);
  return table;
}

double UnitEvaluator::objective(const std::vector<LayerQuantizers>& quantizers) const {
  const Quantizer same[] = {quantizers[0].inputs[0]};
  const ScoreTable table = score(quantizers, {0, 0}, same, images());
  Score total;
  for (const Score& channel : table[0]) total.add(channel);
  return total.value(metric_);
}

}  // namespace qhv
