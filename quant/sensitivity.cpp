#include "quant/sensitivity.h"

#include <cmath>
#include <functional>
#include <map>

#include "nn/run.h"
#include "nn/run_tape.h"
#include "nn/shapes.h"
#include "quant/fake_quant.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"

namespace qhv {
namespace {

constexpr std::int64_t kSampleBytes = std::int64_t{1600} << 20;

/// One evaluation of `graph` on one image, to be differentiated at the units' outputs. Inputs of layers are
/// replaced by replace(edge, x), whose derivative is taken to be that of x. Nothing before the first unit's
/// output is on the way of a gradient, so early layers, the dearest ones, cost little for late units.
class Evaluation {
 public:
  Evaluation(const Graph& graph, std::span<const Unit> units, const Tensor& image,
             const std::function<std::optional<Tensor>(Edge, const Tensor&)>& replace) {
    const int first = units.front().output(), end = int(graph.nodes.size());
    RecordOptions options{.range = {1, first + 1}};
    if (replace)
      options.on_edge = [&](Edge edge, Var v) -> std::optional<Var> {
        std::optional<Tensor> other = replace(edge, v.value());
        if (!other) return std::nullopt;
        const Tensor& x = v.value();
        for (std::int64_t i = 0; i < other->size(); ++i) (*other)[i] -= x[i];
        return add(v, tape_.constant(std::move(*other)));
      };
    const Recorded head = record(tape_, graph, {{0, tape_.borrow(image, false)}}, options);
    std::map<int, Var> given;
    for (int node = 0; node < first; ++node) given.emplace(node, head.node(node));
    given.emplace(first, tape_.borrow(head.node(first).value(), true));
    options.range = {first + 1, end};
    const Recorded tail = record(tape_, graph, given, options);
    for (const Unit& unit : units) {
      outputs_.push_back(tail.node(unit.output()));
      tape_.keep(outputs_.back());
    }
    logits_ = tail.node(end - 1);
  }

  /// [1, N]
  const Tensor& logits() const { return logits_.value(); }
  const Tensor& output(std::size_t unit) const { return outputs_[unit].value(); }

  /// The gradients at the units' outputs, by unit, of a loss with this gradient at the logits.
  std::vector<Tensor> gradients(Tensor dlogits) {
    tape_.seed(logits_, std::move(dlogits));
    tape_.backward_again_later();
    std::vector<Tensor> result;
    for (const Var output : outputs_) result.push_back(tape_.take_gradient(output));
    return result;
  }

 private:
  Tape tape_;
  std::vector<Var> outputs_;
  Var logits_;
};

/// softmax(logits) - target: the gradient of KL(target || p), and of the cross-entropy with it.
Tensor minus_target(const Tensor& logits, const Tensor& target) {
  Tensor gradient = softmax(logits);
  for (std::int64_t i = 0; i < gradient.size(); ++i) gradient[i] -= target[i];
  return gradient;
}

/// One-hot of a class drawn from the distribution p [1, N].
Tensor drawn_label(const Tensor& p, std::uint64_t seed, std::uint64_t image) {
  Tensor label(p.shape());
  double left = unit_uniform(random_bits(seed, seed_of("fisher")), image);
  std::int64_t chosen = 0;
  while (chosen + 1 < p.size() && left >= double(p[chosen])) left -= double(p[chosen++]);
  label[chosen] = 1;
  return label;
}

/// The float network at the units; returns its answer, probabilities [1, N].
Tensor sample_float(const Graph& graph, std::span<const Unit> units, const Tensor& image,
                    std::span<UnitSample* const> samples) {
  RunHooks hooks;
  std::vector<std::vector<std::pair<std::size_t, int>>> wanted(graph.nodes.size());  // (unit, external or -1)
  for (std::size_t u = 0; u < units.size(); ++u) {
    samples[u]->externals.resize(units[u].externals.size());
    for (std::size_t e = 0; e < units[u].externals.size(); ++e)
      wanted[std::size_t(units[u].externals[e])].push_back({u, int(e)});
    wanted[std::size_t(units[u].output())].push_back({u, -1});
  }
  hooks.on_node = [&](int node, std::span<const Tensor* const>, const Tensor& output) {
    for (const auto& [u, external] : wanted[std::size_t(node)])
      (external < 0 ? samples[u]->output : samples[u]->externals[std::size_t(external)]) = output;
  };
  return softmax(run(graph, image, hooks));
}

void square(Tensor& x) {
  for (real& v : x.values()) v *= v;
}

/// One draw of the Fisher information: g^2 / draws to the diagonal, and g / sqrt(draws) as a direction.
void add_draw(Tensor& gradient, UnitSample& sample) {
  for (real& g : gradient.values()) g = real(double(g) / std::sqrt(double(kFisherDraws)));
  sample.directions.push_back(gradient);
  square(gradient);
  if (sample.importance.values().empty())
    sample.importance = std::move(gradient);
  else
    accumulate(sample.importance, gradient);
}

/// diag(max(0, E[g e] / E[e^2])) from what `samples` hold: the gradient as the direction, the error e as
/// `importance`.
void estimate_diagonal(std::vector<UnitSample>& samples) {
  std::vector<double> ge(std::size_t(samples[0].output.size())), ee(ge.size());
  for (const UnitSample& sample : samples)
    for (std::size_t i = 0; i < ge.size(); ++i) {
      const double e = sample.importance[std::int64_t(i)];
      ge[i] += double(sample.directions[0][std::int64_t(i)]) * e;
      ee[i] += e * e;
    }
  for (UnitSample& sample : samples)
    for (std::size_t i = 0; i < ge.size(); ++i)
      sample.importance[std::int64_t(i)] = real(ee[i] > 0 ? std::max(0.0, ge[i] / ee[i]) : 0.0);
}

/// Whether any element of the signal is not zero.
bool has_signal(const std::string& name, const std::vector<UnitSample>& samples) {
  bool any = false;
  const auto look = [&](const Tensor& t) {
    for (const real v : t.values()) {
      require(std::isfinite(v), name, "the sensitivity signal is NaN or infinite");
      any |= v != 0;
    }
  };
  for (const UnitSample& sample : samples) {
    look(sample.importance);
    for (const Tensor& direction : sample.directions) look(direction);
  }
  return any;
}

/// The signals of one image at all units.
class ImageSignals {
 public:
  ImageSignals(const Graph& graph, const QuantizedGraph& defaults, const RunHooks& quantize,
               std::span<const Unit> units, const Tensor& image, std::vector<UnitSample*> samples)
      : graph_(graph),
        defaults_(defaults),
        quantize_(quantize),
        units_(units),
        image_(image),
        samples_(std::move(samples)),
        answer_(sample_float(graph, units, image, samples_)) {}

  void sample(Signal signal, std::uint64_t seed, std::uint64_t image) {
    switch (signal) {
      case Signal::kNone:
        return;
      case Signal::kQuantized:
        return quantized();
      case Signal::kFisher:
        return fisher(seed, image);
      case Signal::kPerturbation:
        return perturbation();
      case Signal::kLowRank:
        return low_rank();
    }
  }

 private:
  void quantized() {
    Evaluation evaluation(defaults_.graph, units_, image_, quantize_.on_edge);
    std::vector<Tensor> g = evaluation.gradients(minus_target(evaluation.logits(), answer_));
    for (std::size_t u = 0; u < units_.size(); ++u) {
      square(g[u]);
      samples_[u]->importance = std::move(g[u]);
    }
  }

  void fisher(std::uint64_t seed, std::uint64_t image) {
    Evaluation evaluation(graph_, units_, image_, {});
    for (std::uint64_t draw = 0; draw < kFisherDraws; ++draw) {
      const Tensor label = drawn_label(answer_, seed, image * kFisherDraws + draw);
      std::vector<Tensor> g = evaluation.gradients(minus_target(evaluation.logits(), label));
      for (std::size_t u = 0; u < units_.size(); ++u) add_draw(g[u], *samples_[u]);
    }
  }

  void perturbation() {
    const auto mirrored = [&](Edge edge, const Tensor& x) {
      std::optional<Tensor> y = quantize_.on_edge(edge, x);
      if (y)
        for (std::int64_t k = 0; k < y->size(); ++k) (*y)[k] = 2 * x[k] - (*y)[k];
      return y;
    };
    Evaluation plus(defaults_.graph, units_, image_, quantize_.on_edge);
    Evaluation minus(defaults_.graph, units_, image_, mirrored);
    std::vector<Tensor> g = plus.gradients(minus_target(plus.logits(), answer_));
    const std::vector<Tensor> g_minus = minus.gradients(minus_target(minus.logits(), answer_));
    for (std::size_t u = 0; u < units_.size(); ++u) {
      const Tensor &y = plus.output(u), &y_minus = minus.output(u);
      for (std::int64_t k = 0; k < y.size(); ++k) {
        const real width = std::abs(y[k] - y_minus[k]);
        g[u][k] = width > 0 ? std::abs(g[u][k] - g_minus[u][k]) / width : 0;
      }
      samples_[u]->importance = std::move(g[u]);
    }
  }

  /// What estimate_diagonal wants, once all images have it.
  void low_rank() {
    Evaluation evaluation(defaults_.graph, units_, image_, quantize_.on_edge);
    std::vector<Tensor> g = evaluation.gradients(minus_target(evaluation.logits(), answer_));
    for (std::size_t u = 0; u < units_.size(); ++u) {
      Tensor error = evaluation.output(u);
      for (std::int64_t k = 0; k < error.size(); ++k) error[k] -= samples_[u]->output[k];
      samples_[u]->importance = std::move(error);
      samples_[u]->directions.push_back(std::move(g[u]));
    }
  }

  const Graph& graph_;
  const QuantizedGraph& defaults_;
  const RunHooks& quantize_;
  std::span<const Unit> units_;
  const Tensor& image_;
  std::vector<UnitSample*> samples_;
  Tensor answer_;  // of the float network, probabilities
};

}  // namespace

const char* signal_name(Signal signal) {
  constexpr const char* kNames[] = {"none", "quantized", "fisher", "perturbation", "lowrank"};
  return kNames[std::size_t(signal)];
}

std::vector<std::vector<UnitSample>> sample_units(const Graph& graph, const QuantizedGraph& defaults,
                                                  std::span<const Unit> units, std::span<const Tensor> images,
                                                  const SampleOptions& options) {
  std::vector<std::vector<UnitSample>> all(units.size(), std::vector<UnitSample>(images.size()));
  const RunHooks quantize = fake_quant_hooks(defaults.graph, defaults.plan);
  parallel_for(std::int64_t(images.size()), options.threads, [&](std::int64_t i) {
    std::vector<UnitSample*> samples;
    for (auto& of_unit : all) samples.push_back(&of_unit[std::size_t(i)]);
    ImageSignals(graph, defaults, quantize, units, images[std::size_t(i)], std::move(samples))
        .sample(options.signal, options.seed, std::uint64_t(i));
  });
  if (options.signal == Signal::kNone) return all;
  bool any = false;
  for (std::size_t u = 0; u < units.size(); ++u) {
    if (options.signal == Signal::kLowRank) estimate_diagonal(all[u]);
    any |= has_signal(graph.nodes[std::size_t(units[u].output())].name, all[u]);
  }
  require(any, signal_name(options.signal),
          "the sensitivity signal is zero everywhere: the quantised network answers exactly as the float one "
          "does");
  return all;
}

std::int64_t sample_bytes(const Graph& graph, const Unit& unit) {
  const std::vector<Shape> shapes = infer_shapes(graph);
  // The output, its importance, and the directions of the signal that has most.
  std::int64_t elements = (2 + kFisherDraws) * element_count(shapes[std::size_t(unit.output())]);
  for (const int node : unit.externals) elements += element_count(shapes[std::size_t(node)]);
  return elements * std::int64_t(sizeof(real));
}

std::vector<std::vector<Unit>> portions(const Graph& graph, const std::vector<Unit>& units,
                                        std::size_t images) {
  std::vector<std::vector<Unit>> result;
  std::int64_t bytes = 0;
  for (const Unit& unit : units) {
    const std::int64_t of_unit = sample_bytes(graph, unit) * std::int64_t(images);
    if (result.empty() || bytes + of_unit > kSampleBytes) {
      result.emplace_back();
      bytes = 0;
    }
    result.back().push_back(unit);
    bytes += of_unit;
  }
  return result;
}

}  // namespace qhv
