// HyQ (Kim, Lee, Kim, IJCAI 2024). Two remedies for channels of different size, and min-max for the rest:
//
//   - the minimum of what a depthwise convolution reads is fixed at SiLU's, -0.278, in all channels, where it
//     comes from a SiLU
//   - "quantization-aware distribution scaling": before a 1x1 expand or project convolution of an inverted
//     residual, channel c of the input is divided by alpha_c and its weights are multiplied by it
//     (equalize.h), with alpha learnt to minimise
//
//       | Q(W alpha) Q(x / alpha) - W x |^2
//
// Adam, 1000 steps, as published. Choices where its code has defects or the paper says nothing:
//   - alpha = exp(theta): it stays positive, which the public code's does not
//   - one learning rate for all networks (the paper has a larger one for the smallest): 1e-2 in theta, 1 % of
//     alpha a step, falling as half a cosine; a factor of 100 in either direction is within reach, and 1e-1
//     finds the same error
//   - the scales are the min-max ones of x / alpha and W alpha, recomputed in every step, and the gradient
//     passes through them to the channels that set them
//   - a step looks at columns of pixels, a random sample of all images, instead of whole images
//   - alpha stays 1 where what was learnt is no better on the whole sample
#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>

#include "autograd/ops.h"
#include "autograd/optim.h"
#include "quant/equalize.h"
#include "quant/methods/methods.h"
#include "quant/metrics.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"

namespace qhv {
namespace {

constexpr int kSteps = 1000;
constexpr double kLearningRate = 1e-2;
constexpr std::int64_t kSampleColumns = 8192;     // kept of a layer, of all images together
constexpr std::int64_t kStepColumns = 2048;       // looked at in a step ...
constexpr std::int64_t kStepProducts = 32 << 20;  // ... or fewer: at most so many multiplications

bool is_scaled(const Node& node) {
  return node.name.ends_with(".conv1_1x1.conv") || node.name.ends_with(".conv3_1x1.conv");
}

/// A 1x1 convolution as a matrix product on columns of pixels: y [O, N] = weight [O, C] x [C, N].
struct Layer {
  Tensor weight, x, y;
  std::vector<Range> ranges;  // of x by channel, over all images
  LayerBits bits;
  std::uint64_t seed;
};

struct Parameters {
  QParams input, weight;  // of x / alpha, per tensor, and of W alpha, per output channel
};

Parameters parameters(const Layer& layer, const std::vector<float>& alpha) {
  Range whole;
  for (std::size_t c = 0; c < alpha.size(); ++c)
    whole = merge(whole, {layer.ranges[c].lo / double(alpha[c]), layer.ranges[c].hi / double(alpha[c])});
  return {affine_params({whole}, layer.bits.input),
          symmetric_params(channel_ranges(multiply_channels(layer.weight, alpha), 0), layer.bits.weight, 0)};
}

/// The mean squared error over the whole sample.
double objective(const Layer& layer, const std::vector<float>& alpha) {
  const Parameters q = parameters(layer, alpha);
  Sqnr sqnr;
  sqnr.add(layer.y, matmul(fake_quantize_weight(layer.weight, q.weight, alpha),
                           fake_quantize(layer.x, spread(q.input, alpha, 0)), false, 1));
  return sqnr.noise / double(layer.y.size());
}

/// These columns of x.
Tensor columns(const Tensor& x, std::span<const std::int64_t> chosen) {
  const std::int64_t rows = x.dim(0), all = x.dim(1), count = std::int64_t(chosen.size());
  Tensor part = Tensor::uninitialized({rows, count});
  for (std::int64_t row = 0; row < rows; ++row) {
    const real* src = x.data() + row * all;
    real* dst = part.data() + row * count;
    for (std::int64_t i = 0; i < count; ++i) dst[i] = src[chosen[std::size_t(i)]];
  }
  return part;
}

/// The channel whose value is largest.
template <typename Value>
std::int64_t largest(std::int64_t channels, Value value) {
  std::int64_t best = 0;
  for (std::int64_t c = 1; c < channels; ++c)
    if (value(c) > value(best)) best = c;
  return best;
}

/// Columns begin .. end-1 of the sample, which lies in random order.
struct Window {
  std::int64_t begin, end;
};

/// With s the step of x / alpha and t_o that of row o of W alpha, integers compute
///
///   y^_o = s t_o sum_c round(W_oc alpha_c / t_o) round(x_c / (alpha_c s))
///
/// where nothing is clipped, as the steps are those of the whole range. These are the three factors in it.
struct Factors {
  Tensor input;   // 1 / (alpha_c s), [C, 1]
  Tensor weight;  // alpha_c / t_o, [O, C]
  Tensor output;  // s t_o, [O, 1]
};

Factors factors(const Layer& layer, const std::vector<float>& alpha) {
  const std::int64_t out = layer.weight.dim(0), in = layer.weight.dim(1);
  const Parameters q = parameters(layer, alpha);
  const double s = double(q.input.scale[0]);
  Factors f{Tensor({in, 1}), Tensor({out, in}), Tensor({out, 1})};
  for (std::int64_t c = 0; c < in; ++c) f.input[c] = real(1 / (double(alpha[std::size_t(c)]) * s));
  for (std::int64_t o = 0; o < out; ++o) {
    const double t = double(q.weight.scale[std::size_t(o)]);
    f.output[o] = real(s * t);
    for (std::int64_t c = 0; c < in; ++c) f.weight[o * in + c] = real(double(alpha[std::size_t(c)]) / t);
  }
  return f;
}

/// Gradient of half the mean squared error over `unit`, in a window, with respect to the logarithms of the
/// factors. Rounding is straight-through.
Factors log_gradients(const Layer& layer, const Factors& f, Window window, double unit) {
  const Tensor x = slice(layer.x, 1, window.begin, window.end),
               y = slice(layer.y, 1, window.begin, window.end);
  Tape tape;
  const Var input = tape.borrow(f.input, true), weight = tape.borrow(f.weight, true),
            output = tape.borrow(f.output, true);
  const Var input_codes = round_straight_through(mul(tape.borrow(x, false), input));
  const Var weight_codes = round_straight_through(mul(tape.borrow(layer.weight, false), weight));
  const Var result = matmul(mul(weight_codes, output), input_codes, false, 1);
  Tensor error = result.value();
  const real share = real(1 / (unit * double(error.size())));
  for (std::int64_t i = 0; i < error.size(); ++i) error[i] = (error[i] - y[i]) * share;
  tape.seed(result, std::move(error));
  tape.backward();
  return {mul(tape.take_gradient(input), f.input), mul(tape.take_gradient(weight), f.weight),
          mul(tape.take_gradient(output), f.output)};
}

/// The same with respect to theta = log alpha: that of the factors, whose logarithms are sums of those of
/// alpha, s and t; and s and t in their turn follow the channels at the ends of their ranges.
Tensor gradient(const Layer& layer, const std::vector<float>& alpha, Window window, double unit) {
  const std::int64_t out = layer.weight.dim(0), in = layer.weight.dim(1);
  const Factors d = log_gradients(layer, factors(layer, alpha), window, unit);
  const auto scale = [&](std::int64_t c) { return double(alpha[std::size_t(c)]); };
  std::vector<double> by_theta(std::size_t(in), 0.0);
  double by_s = 0;
  for (std::int64_t c = 0; c < in; ++c) {
    by_theta[std::size_t(c)] -= double(d.input[c]);
    by_s -= double(d.input[c]);
  }
  for (std::int64_t o = 0; o < out; ++o) {
    double by_t = double(d.output[o]);
    by_s += by_t;
    for (std::int64_t c = 0; c < in; ++c) {
      by_theta[std::size_t(c)] += double(d.weight[o * in + c]);
      by_t -= double(d.weight[o * in + c]);
    }
    // t_o is the largest |W_oc| alpha_c over the number of codes.
    const auto size = [&](std::int64_t c) { return std::abs(double(layer.weight[o * in + c])) * scale(c); };
    by_theta[std::size_t(largest(in, size))] += by_t;
  }
  // s is the largest hi_c / alpha_c plus the largest -lo_c / alpha_c, over the number of steps.
  const auto above = [&](std::int64_t c) {
    return std::max(0.0, layer.ranges[std::size_t(c)].hi / scale(c));
  };
  const auto below = [&](std::int64_t c) {
    return std::max(0.0, -layer.ranges[std::size_t(c)].lo / scale(c));
  };
  const std::int64_t top = largest(in, above), bottom = largest(in, below);
  const double width = above(top) + below(bottom);
  by_theta[std::size_t(top)] -= by_s * above(top) / width;
  by_theta[std::size_t(bottom)] -= by_s * below(bottom) / width;
  return Tensor({in}, std::vector<real>(by_theta.begin(), by_theta.end()));
}

/// exp(theta), with a geometric mean of 1: a common factor changes nothing.
std::vector<float> exponentials(const Tensor& theta) {
  double mean = 0;
  for (const real t : theta.values()) mean += double(t) / double(theta.size());
  std::vector<float> alpha;
  for (const real t : theta.values()) alpha.push_back(float(std::exp(double(t) - mean)));
  return alpha;
}

struct Learnt {
  std::vector<float> alpha;  // none if 1 is better
  SearchScore score;
};

Learnt learn(const Layer& layer) {
  const std::int64_t out = layer.weight.dim(0), in = layer.weight.dim(1), all = layer.x.dim(1);
  Tensor theta({in});
  const double before = objective(layer, exponentials(theta));
  if (before == 0) return {{}, {0, 0}};
  const std::int64_t count =
      std::min(all, std::clamp<std::int64_t>(kStepProducts / (out * in), 1, kStepColumns));
  Optimizer adam{.options = {.kind = OptimizerKind::kAdam, .weight_decay = 0}};
  Tensor* const params[] = {&theta};
  for (int step = 0; step < kSteps; ++step) {
    const std::int64_t begin =
        std::int64_t(random_below(layer.seed, std::uint64_t(step), std::uint32_t(all - count + 1)));
    const Tensor grad = gradient(layer, exponentials(theta), {begin, begin + count}, before);
    optimizer_step(adam, cosine_schedule(step, kSteps, 0, kLearningRate, 0), params, {&grad, 1}, 1);
  }
  std::vector<float> alpha = exponentials(theta);
  const double after = objective(layer, alpha);
  if (after < before) return {std::move(alpha), {before, after}};
  return {{}, {before, before}};
}

/// The layers at `nodes` with what they read at random positions of all images, the same number in each, or
/// at all positions where there are not more; in random order.
std::vector<Layer> sample_layers(const Graph& graph, const std::vector<int>& nodes,
                                 const Calibration& calibration) {
  const std::int64_t images = std::int64_t(calibration.images.size());
  const std::int64_t of_image = std::max<std::int64_t>(1, kSampleColumns / images);
  std::vector<Layer> layers;
  std::vector<int> layer_of(graph.nodes.size(), -1);
  for (const int index : nodes) {
    const Node& node = graph.nodes[std::size_t(index)];
    const Conv2d& conv = std::get<Conv2d>(node.op);
    layer_of[std::size_t(index)] = int(layers.size());
    layers.push_back({.weight = graph.params[std::size_t(node.params[0])].value.reshaped({conv.out, conv.in}),
                      .x = {},
                      .y = {},
                      .ranges = {},
                      .bits = calibration.bits_of(node),
                      .seed = calibration.seed ^ seed_of(node.name)});
  }
  std::vector<std::vector<Tensor>> parts(layers.size(), std::vector<Tensor>(std::size_t(images)));
  parallel_for(images, calibration.threads, [&](std::int64_t image) {
    RunHooks hooks;
    hooks.on_edge = [&](Edge edge, const Tensor& x) -> std::optional<Tensor> {
      const int index = layer_of[std::size_t(edge.node)];
      if (index < 0) return std::nullopt;
      const std::int64_t positions = x.dim(2) * x.dim(3), count = std::min(positions, of_image);
      std::vector<std::int64_t> chosen;
      for (std::int64_t i = 0; i < count; ++i)
        chosen.push_back(count == positions ? i
                                            : std::int64_t(random_below(~layers[std::size_t(index)].seed,
                                                                        std::uint64_t(image * count + i),
                                                                        std::uint32_t(positions))));
      parts[std::size_t(index)][std::size_t(image)] = columns(x.reshaped({x.dim(1), positions}), chosen);
      return std::nullopt;
    };
    run(graph, calibration.images[std::size_t(image)], hooks);
  });
  for (std::size_t i = 0; i < layers.size(); ++i) {
    std::vector<const Tensor*> pointers;
    for (const Tensor& part : parts[i]) pointers.push_back(&part);
    const Tensor in_order = concat_axis(pointers, 1);
    std::vector<std::int64_t> order(std::size_t(in_order.dim(1)));
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, {}, [&](std::int64_t column) {
      return std::pair{random_bits(layers[i].seed, std::uint64_t(column)), column};
    });
    layers[i].x = columns(in_order, order);
    parts[i].clear();
    layers[i].y = matmul(layers[i].weight, layers[i].x, false, 1);
  }
  return layers;
}

}  // namespace

QuantizedGraph quantize_hyq(const Graph& graph, const Calibration& calibration) {
  std::vector<int> nodes;
  for (const int node : quantizable_nodes(graph))
    if (is_scaled(graph.nodes[std::size_t(node)])) nodes.push_back(node);
  const auto scaled = [&](int node) { return std::ranges::find(nodes, node) - nodes.begin(); };

  std::vector<ObservedEdge> edges = quantizable_edges(graph);
  for (ObservedEdge& e : edges)
    if (is_scaled(graph.nodes[std::size_t(e.edge.node)])) e.axis = 1;
  EdgeRanges ranges = observe_ranges(graph, edges, calibration);
  std::vector<Layer> layers = sample_layers(graph, nodes, calibration);
  for (std::size_t i = 0; i < edges.size(); ++i) {
    const Node& node = graph.nodes[std::size_t(edges[i].edge.node)];
    if (is_scaled(node)) {
      layers[std::size_t(scaled(edges[i].edge.node))].ranges = ranges[i];
      edges[i].axis = -1;
      ranges[i] = merge_groups(ranges[i], int(ranges[i].size()));
    }
    if (is_depthwise(node) && std::holds_alternative<Silu>(graph.nodes[std::size_t(node.inputs[0])].op))
      for (Range& range : ranges[i]) range.lo = kSiluMinimum;
  }
  QuantPlan plan = plan_of_ranges(graph, calibration, "hyq", edges, ranges);

  std::vector<Learnt> learnt(layers.size());
  std::mutex mutex;
  std::size_t done = 0;
  parallel_for(std::int64_t(layers.size()), calibration.threads, [&](std::int64_t i) {
    learnt[std::size_t(i)] = learn(layers[std::size_t(i)]);
    const std::lock_guard lock(mutex);
    ++done;
    if (calibration.progress) calibration.progress("scaling", double(done) / double(layers.size()));
  });
  for (LayerPlan& layer : plan.layers) {
    const std::size_t i = std::size_t(scaled(find_node(graph, layer.node)));
    if (i == layers.size()) continue;
    layer.score = learnt[i].score;
    if (learnt[i].alpha.empty()) continue;
    const Parameters q = parameters(layers[i], learnt[i].alpha);
    layer.equalization = learnt[i].alpha;
    layer.inputs[0].quantizer = spread(q.input, learnt[i].alpha, 1);
    layer.weight->quantizer = q.weight;
  }
  return apply_plan(graph, std::move(plan));
}

}  // namespace qhv
