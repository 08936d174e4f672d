#include "quant/reconstruction/learn_piece.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "autograd/optim.h"
#include "nn/run_tape.h"
#include "quant/equalize.h"
#include "quant/reconstruction/quantize_on_tape.h"
#include "quant/reconstruction/soft_rounding.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"

namespace qhv {
namespace {

constexpr double kWarmUp = 0.2;  // share of the iterations without regulariser
constexpr double kBetaFirst = 20, kBetaLast = 2;
constexpr real kSmallestFactor = 0.1, kLargestFactor = 10;  // of a learnt step

/// What is learnt of one layer.
struct Learnt {
  int node = -1;
  LayerPlan* plan = nullptr;
  std::optional<SoftRounding> rounding = {};  // of a layer with a weight
  Tensor weight;                              // as it stands: soft, or rounded
  Tensor bias;                                // empty: there is none, or it is not learnt
  std::vector<Tensor> factors;                // of the steps, by input; empty tensors: they stand still
};

/// How the gradients of one image are laid out: those of each layer's weight, bias and factors, in this
/// order.
using Gradients = std::vector<Tensor>;

std::int64_t factor_count(const LayerPlan& layer, const TensorPlan& input) {
  const auto* q = std::get_if<QParams>(&input.quantizer);
  if (!q) return 0;
  return q->axis < 0 || !layer.equalization.empty() ? 1 : std::int64_t(q->scale.size());
}

class Learner {
 public:
  Learner(QuantizedGraph& quantized, const Graph& unrounded, const Piece& piece,
          std::span<const PieceSample> samples, const ChannelWeights& weights, double error,
          const ReconstructOptions& options, std::uint64_t seed)
      : quantized_(quantized),
        piece_(piece),
        samples_(samples),
        weights_(weights),
        options_(options),
        seed_(seed),
        scale_(error > 0 ? 1 / error : 1) {
    for (const int node : piece.unit.layers) {
      const Node& n = unrounded.nodes[std::size_t(node)];
      const auto plan = std::ranges::find(quantized.plan.layers, n.name, &LayerPlan::node);
      require(plan != quantized.plan.layers.end(), "reconstruct", "the plan has no layer ", n.name);
      Learnt& layer = layers_.emplace_back();
      layer.node = node;
      layer.plan = &*plan;
      if (plan->weight) {
        const Tensor& weight = unrounded.params[std::size_t(n.params[0])].value;
        if (options.roundings)
          layer.rounding.emplace(weight, uniform(plan->weight->quantizer, n.name), plan->equalization);
        layer.weight = quantized.graph.params[std::size_t(n.params[0])].value;
        if (options.biases && n.params.size() > 1)
          layer.bias = quantized.graph.params[std::size_t(n.params[1])].value;
      }
      for (const TensorPlan& input : plan->inputs) {
        const std::int64_t count = options.steps ? factor_count(*plan, input) : 0;
        layer.factors.push_back(count ? Tensor({count}, 1) : Tensor());
      }
    }
  }

  LearntRoundings run() {
    LearntRoundings result;
    for (int i = 0; i < options_.iterations; ++i)
      if (!iterate(i)) return {.diverged = true};
    for (Learnt& layer : layers_) {
      if (!layer.rounding) continue;
      Tensor unused(layer.weight.shape());
      result.regularizer += layer.rounding->regularize(kBetaLast, 1, unused) * double(layer.rounding->free());
      layer.weight = fake_quantize_weight(layer.rounding->rounded_weight(), layer.plan->weight->quantizer,
                                          layer.plan->equalization);
      result.flipped += layer.rounding->flipped();
      result.free += layer.rounding->free();
    }
    if (result.free) result.regularizer /= double(result.free);
    write();
    return result;
  }

 private:
  /// The stretch for one image. `leaves` gets the Vars whose gradients are wanted, if given.
  Recorded record_piece(Tape& tape, const PieceSample& sample, std::vector<std::optional<Var>>* leaves,
                        const Drop& drop) const {
    std::map<int, Var> given;
    for (std::size_t e = 0; e < sample.externals.size(); ++e)
      given.emplace(piece_.unit.externals[e], tape.borrow(*sample.externals[e], false));
    std::map<int, Var> params;                                  // by index
    std::map<std::pair<int, int>, std::optional<Var>> factors;  // by node and slot
    const auto leaf = [&](const Tensor& value) -> std::optional<Var> {
      std::optional<Var> v;
      if (!value.values().empty()) v = tape.borrow(value, leaves != nullptr);
      if (leaves) leaves->push_back(v);
      return v;
    };
    for (const Learnt& layer : layers_) {
      const Node& n = quantized_.graph.nodes[std::size_t(layer.node)];
      if (const auto v = leaf(layer.weight)) params.emplace(n.params[0], *v);
      if (const auto v = leaf(layer.bias)) params.emplace(n.params[1], *v);
      for (std::size_t slot = 0; slot < layer.factors.size(); ++slot)
        factors[{layer.node, int(slot)}] = leaf(layer.factors[slot]);
    }
    RecordOptions options{.range = piece_.unit.range};
    options.on_param = [&](int param) -> std::optional<Var> {
      const auto found = params.find(param);
      return found == params.end() ? std::nullopt : std::optional(found->second);
    };
    options.on_edge = [&](Edge edge, Var x) -> std::optional<Var> {
      const auto found = factors.find({edge.node, edge.slot});
      if (found == factors.end()) return std::nullopt;
      const auto layer = std::ranges::find(layers_, edge.node, &Learnt::node);
      const Quantizer& q = layer->plan->inputs[std::size_t(edge.slot)].quantizer;
      if (std::holds_alternative<Unquantized>(q)) return std::nullopt;
      return quantize_on_tape(x, q, found->second,
                              {drop.probability, drop.seed + std::uint64_t(edge.node * 4 + edge.slot)});
    };
    return record(tape, quantized_.graph, given, options);
  }

  /// Gradients of the scaled error of one image.
  Gradients gradients(const PieceSample& sample, const Drop& drop) const {
    Tape tape;
    std::vector<std::optional<Var>> leaves;
    const Recorded recorded = record_piece(tape, sample, &leaves, drop);
    for (std::size_t o = 0; o < piece_.outputs.size(); ++o) {
      const Var y = recorded.node(piece_.outputs[o]);
      Tensor dy(y.shape());
      weighted_error(y.value(), *sample.targets[o], weights_[o], &dy);
      for (real& v : dy.values()) v = real(double(v) * scale_ / options_.batch);
      tape.seed(y, std::move(dy));
    }
    tape.backward();
    Gradients result;
    for (const std::optional<Var>& v : leaves) result.push_back(v ? tape.take_gradient(*v) : Tensor());
    return result;
  }

  /// The sum over the images of iteration i, in their order.
  Gradients batch_gradients(int i) const {
    std::vector<Gradients> parts(std::size_t(options_.batch));
    parallel_for(options_.batch, options_.threads, [&](std::int64_t k) {
      const std::uint64_t number = std::uint64_t(i) * std::uint64_t(options_.batch) + std::uint64_t(k);
      const std::size_t image = std::size_t(random_below(seed_, number, std::uint32_t(samples_.size())));
      parts[std::size_t(k)] =
          gradients(samples_[image], {options_.drop, random_bits(seed_ ^ seed_of("drop"), number)});
    });
    for (std::size_t k = 1; k < parts.size(); ++k)
      for (std::size_t p = 0; p < parts[0].size(); ++p)
        if (!parts[0][p].values().empty()) accumulate(parts[0][p], parts[k][p]);
    return std::move(parts[0]);
  }

  /// False if a gradient is not finite.
  bool iterate(int i) {
    for (Learnt& layer : layers_)
      if (layer.rounding) layer.weight = layer.rounding->weight();
    Gradients g = batch_gradients(i);
    for (const Tensor& gradient : g)
      if (!std::ranges::all_of(gradient.values(), [](real v) { return std::isfinite(v); })) return false;
    const double done = double(i) / options_.iterations, fade = 0.5 * (1 + std::cos(done * 3.14159265358979));
    std::vector<Tensor> variables;
    std::vector<Tensor*> roundings, steps, biases;
    std::vector<Tensor> of_roundings, of_steps, of_biases;
    variables.reserve(layers_.size());
    std::size_t next = 0;
    for (Learnt& layer : layers_) {
      Tensor dweight = std::move(g[next++]), dbias = std::move(g[next++]);
      if (layer.rounding) {
        Tensor dv = layer.rounding->gradient(std::move(dweight));
        if (done >= kWarmUp) layer.rounding->regularize(beta(done), options_.regularizer, dv);
        roundings.push_back(&variables.emplace_back(layer.rounding->variables()));
        of_roundings.push_back(std::move(dv));
      }
      if (!layer.bias.values().empty()) {
        biases.push_back(&layer.bias);
        of_biases.push_back(std::move(dbias));
      }
      for (Tensor& factors : layer.factors) {
        Tensor dfactors = std::move(g[next++]);
        if (factors.values().empty()) continue;
        steps.push_back(&factors);
        of_steps.push_back(std::move(dfactors));
      }
    }
    optimizer_step(rounding_optimizer_, options_.rounding_lr, roundings, of_roundings, 1);
    if (!biases.empty()) optimizer_step(bias_optimizer_, options_.bias_lr * fade, biases, of_biases, 1);
    if (!steps.empty()) optimizer_step(step_optimizer_, options_.step_lr * fade, steps, of_steps, 1);
    for (Tensor* factors : steps)
      for (real& factor : factors->values()) factor = std::clamp(factor, kSmallestFactor, kLargestFactor);
    std::size_t k = 0;
    for (Learnt& layer : layers_)
      if (layer.rounding) layer.rounding->set_variables(std::move(variables[k++]));
    return true;
  }

  static double beta(double done) {
    return kBetaLast + (kBetaFirst - kBetaLast) * (1 - (done - kWarmUp) / (1 - kWarmUp));
  }

  void write() {
    for (Learnt& layer : layers_) {
      const Node& n = quantized_.graph.nodes[std::size_t(layer.node)];
      if (layer.rounding) quantized_.graph.params[std::size_t(n.params[0])].value = layer.weight;
      if (!layer.bias.values().empty()) quantized_.graph.params[std::size_t(n.params[1])].value = layer.bias;
      for (std::size_t slot = 0; slot < layer.factors.size(); ++slot) {
        if (layer.factors[slot].values().empty()) continue;
        Quantizer& q = layer.plan->inputs[slot].quantizer;
        q = with_factors(std::get<QParams>(q), layer.factors[slot]);
      }
    }
  }

  static Optimizer adam() { return {{.kind = OptimizerKind::kAdam, .weight_decay = 0}}; }

  QuantizedGraph& quantized_;
  const Piece& piece_;
  std::span<const PieceSample> samples_;
  const ChannelWeights& weights_;
  const ReconstructOptions& options_;
  std::uint64_t seed_;
  double scale_;
  std::vector<Learnt> layers_;
  Optimizer rounding_optimizer_ = adam(), bias_optimizer_ = adam(), step_optimizer_ = adam();
};

}  // namespace

LearntRoundings learn_piece(QuantizedGraph& quantized, const Graph& unrounded, const Piece& piece,
                            std::span<const PieceSample> samples, const ChannelWeights& weights, double error,
                            const ReconstructOptions& options, std::uint64_t index) {
  return Learner(quantized, unrounded, piece, samples, weights, error, options,
                 random_bits(options.seed, index))
      .run();
}

}  // namespace qhv
