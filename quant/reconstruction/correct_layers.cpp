#include "quant/reconstruction/correct_layers.h"

#include <algorithm>
#include <limits>

#include "quant/equalize.h"
#include "quant/fake_quant.h"
#include "quant/passage.h"
#include "quant/reconstruction/least_squares.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

constexpr double kLambdas[] = {1e-3, 1e-2, 1e-1, 1, 10};
constexpr double kLargestHold = 0.1;  // of codes, to the weights that they are of
constexpr std::size_t kHeldOut = 4;   // every fourth image chooses lambda, the others make weights for it

/// y - bias, by channel.
Tensor without_bias(Tensor y, const Tensor& bias) {
  const int axis = channel_axis(y);
  const std::int64_t inner = inner_count(y.shape(), axis);
  for (std::int64_t i = 0; i < y.size(); ++i) y[i] -= bias[i / inner % bias.size()];
  return y;
}

struct MeasuredMoments {
  LayerMoments fit, held_out;
};

/// Of a layer, over all images.
MeasuredMoments measure(const QuantizedGraph& quantized, const Graph& reference, const Unit& unit, int layer,
                        std::span<const PieceSample> samples, const CorrectOptions& options) {
  const RunHooks rounding = fake_quant_hooks(quantized.graph, quantized.plan);
  const Node& node = reference.nodes[std::size_t(layer)];
  const std::size_t portion = std::size_t(options.threads);
  MeasuredMoments total;
  for (std::size_t first = 0; first < samples.size(); first += portion) {
    std::vector<LayerMoments> parts(std::min(portion, samples.size() - first));
    parallel_for(std::ssize(parts), options.threads, [&](std::int64_t k) {
      const PieceSample& sample = samples[first + std::size_t(k)];
      Tensor x;
      RunHooks hooks;
      hooks.on_edge = [&](Edge edge, const Tensor& value) {
        std::optional<Tensor> rounded = rounding.on_edge(edge, value);
        if (edge.node == layer && edge.slot == 0) x = rounded ? *rounded : value;
        return rounded;
      };
      const int wanted[] = {layer};
      run_unit(quantized.graph, unit, sample.externals, wanted, hooks);
      Tensor y = run_unit(reference, unit, sample.float_externals, wanted, {})[0];
      if (options.polish && node.params.size() > 1)
        y = without_bias(std::move(y), quantized.graph.params[std::size_t(node.params[1])].value);
      parts[std::size_t(k)] = layer_moments(node, x, y);
    });
    for (std::size_t k = 0; k < parts.size(); ++k)
      add((first + k) % kHeldOut == 0 ? total.held_out : total.fit, parts[k]);
  }
  return total;
}

double total_error(const LayerMoments& moments, const Tensor& weight) {
  double sum = 0;
  for (const double e : errors_of(moments, weight)) sum += e;
  return sum;
}

/// The lambda whose weights are best for images that they were not made for; infinite if none is better than
/// leaving the weights as they are.
double choose_lambda(const LayerMoments& fit, const LayerMoments& held_out, const Tensor& weight,
                     int threads) {
  double best = std::numeric_limits<double>::infinity(), least = total_error(held_out, weight);
  if (fit.count == 0) return best;
  for (const double lambda : kLambdas) {
    const double error = total_error(held_out, ridge(weight, fit, lambda, threads));
    if (!(error < least)) continue;
    least = error;
    best = lambda;
  }
  return best;
}

/// mean(y_o) - w_o mean(x)
Tensor bias_of(const LayerMoments& m, const Tensor& weight) {
  Tensor bias({m.outputs});
  for (std::int64_t o = 0; o < m.outputs; ++o) {
    double sum = m.output_sums[std::size_t(o)];
    const double* inputs = m.input_sums.data() + m.group_of(o) * m.inputs;
    for (std::int64_t i = 0; i < m.inputs; ++i) sum -= double(weight[o * m.inputs + i]) * inputs[i];
    bias[o] = real(sum / double(m.count));
  }
  return bias;
}

/// One layer on its way through least squares.
class Correction {
 public:
  Correction(QuantizedGraph& quantized, Graph& unrounded, const Graph& reference, int layer,
             const CorrectOptions& options)
      : quantized_(quantized),
        unrounded_(unrounded),
        node_(reference.nodes[std::size_t(layer)]),
        plan_(*std::ranges::find(quantized.plan.layers, node_.name, &LayerPlan::node)),
        options_(options) {}

  void run(MeasuredMoments measured) {
    LayerMoments all = measured.fit;
    add(all, measured.held_out);
    if (options_.polish) {
      round(all, param(quantized_.graph, 0), 0);
      return;
    }
    const bool has_bias = node_.params.size() > 1;
    if (has_bias) measured = {centered(std::move(measured.fit)), centered(std::move(measured.held_out))};
    const LayerMoments moments = has_bias ? centered(all) : all;
    Tensor& weight = param(unrounded_, 0);
    double lambda = std::numeric_limits<double>::infinity();
    if (options_.ridge) lambda = choose_lambda(measured.fit, measured.held_out, weight, options_.threads);
    if (lambda < std::numeric_limits<double>::infinity())
      weight = ridge(weight, moments, lambda, options_.threads);
    round(moments, weight, std::min(lambda, kLargestHold));
    if (!has_bias) return;
    param(unrounded_, 1) = bias_of(all, weight);
    param(quantized_.graph, 1) = bias_of(all, param(quantized_.graph, 0));
  }

 private:
  Tensor& param(Graph& graph, std::size_t p) const {
    return graph.params[std::size_t(node_.params[p])].value;
  }

  void round(const LayerMoments& moments, Tensor start, double lambda) {
    if (options_.descent) {
      const Tensor& weight = param(unrounded_, 0);
      WeightGrid grid =
          weight_grid(weight.shape(), uniform(plan_.weight->quantizer, node_.name), plan_.equalization);
      if (options_.polish) grid = next_to(grid, weight);
      start =
          descend(start, lambda > 0 ? held(moments, weight, lambda) : moments, grid, true, options_.threads);
    }
    param(quantized_.graph, 0) = fake_quantize_weight(start, plan_.weight->quantizer, plan_.equalization);
  }

  QuantizedGraph& quantized_;
  Graph& unrounded_;
  const Node& node_;
  const LayerPlan& plan_;
  const CorrectOptions& options_;
};

}  // namespace

void correct_layers(QuantizedGraph& quantized, Graph& unrounded, const Graph& reference, const Piece& piece,
                    std::span<const PieceSample> samples, const CorrectOptions& options) {
  for (const int layer : piece.unit.layers)
    if (has_weight(reference.nodes[std::size_t(layer)]))
      Correction(quantized, unrounded, reference, layer, options)
          .run(measure(quantized, reference, piece.unit, layer, samples, options));
}

}  // namespace qhv
