// The search over scale, granularity and scheme: cases with known answers, the sensitivity signal, units.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "models/model.h"
#include "nn/build.h"
#include "nn/passes.h"
#include "nn/run.h"
#include "quant/bias_correction.h"
#include "quant/equalize.h"
#include "quant/fake_quant.h"
#include "quant/methods/search_network.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

void randomize(Graph& graph, std::uint64_t seed = 0) {
  for (std::size_t i = 0; i < graph.params.size(); ++i)
    graph.params[i].value = random_tensor(graph.params[i].value.shape(), seed + i);
}

/// One 1x1 convolution with this weight [O, 2].
Graph conv_graph(const std::vector<real>& weight) {
  Graph graph;
  conv2d(input(graph, {2, 2, 2}), "conv", std::int64_t(weight.size() / 2), {});
  graph.params[0].value = Tensor(graph.params[0].value.shape(), weight);
  return graph;
}

/// The float network at one unit, without importance.
std::vector<UnitSample> plain_samples(const Graph& graph, const Unit& unit, std::span<const Tensor> images) {
  return sample_units(graph, {graph, {}}, std::span(&unit, 1), images, {.signal = Signal::kNone})[0];
}

/// The first layer's weight, its inputs and everything else unquantised.
Found search_weight(const Graph& graph, const Unit& unit, std::span<const Tensor> images,
                    const std::vector<Family>& families, const SearchGrid& grid) {
  const std::vector<UnitSample> samples = plain_samples(graph, unit, images);
  const UnitEvaluator evaluator(graph, unit, samples, Metric::kError, 2);
  std::vector<LayerQuantizers> quantizers(unit.layers.size());
  for (LayerQuantizers& q : quantizers) q.inputs = {Unquantized{}};
  SearchMemory memory;
  return search_operand(evaluator, quantizers, {0, Operand::kWeight}, unit.layers.size() == 1, families, grid,
                        memory);
}

std::vector<Tensor> images_for(const Graph& graph, int count, double low = -1, double high = 1) {
  const Input& in = std::get<Input>(graph.nodes[0].op);
  std::vector<Tensor> images;
  for (int i = 0; i < count; ++i)
    images.push_back(random_tensor({1, in.channels, in.height, in.width}, 50 + std::uint64_t(i), low, high));
  return images;
}

/// conv_1x1 -> SiLU -> depthwise -> pool -> linear.
Graph small_graph() {
  Graph graph;
  Value x = input(graph, {3, 6, 6});
  x = silu(conv2d(x, "expand", 6, {}, true), "act1");
  x = silu(conv2d(x, "filter", 6, {.kernel = 3, .pad = 1, .groups = 6}, true), "act2");
  linear(global_avg_pool(x, "pool"), "fc", 4);
  randomize(graph);
  return graph;
}

constexpr SearchGrid kPlain{.flavour = Flavour::kPlain};

}  // namespace

TEST_CASE("search: the plain flavour finds the best of all candidates, each channel its own") {
  const Graph graph = conv_graph({1, 0.3, -0.2, 0.55});
  const std::vector<Tensor> images = images_for(graph, 3);
  const Unit unit = make_unit(graph, {1, 2});
  const Family family{Scheme::kSymmetric, 0, 1, channel_ranges(graph.params[0].value, 0), 3};
  const Found found = search_weight(graph, unit, images, {family}, kPlain);
  // By hand: every factor, the squared error of each output channel.
  double least[2] = {1e9, 1e9}, chosen[2] = {};
  for (int j = 0; j < kPlain.candidates; ++j) {
    const double factor = kPlain.alpha + j * (kPlain.beta - kPlain.alpha) / (kPlain.candidates - 1);
    const Tensor weight = fake_quantize(graph.params[0].value, member(family, std::vector{factor, factor}));
    double error[2] = {};
    for (const Tensor& image : images) {
      const Tensor exact = conv2d(image, graph.params[0].value, nullptr, {}),
                   rounded = conv2d(image, weight, nullptr, {});
      for (std::int64_t i = 0; i < 8; ++i) error[i / 4] += std::pow(double(exact[i] - rounded[i]), 2);
    }
    for (int c = 0; c < 2; ++c)
      if (error[c] <= least[c]) least[c] = error[c], chosen[c] = factor;
  }
  CHECK(found.quantizer == Quantizer(member(family, chosen)));
  CHECK(near(found.objective, least[0] + least[1], 1e-6));
}

TEST_CASE("search: an outlier channel decides for a scale by channel") {
  const Graph graph = conv_graph({0.9, -0.7, 0.5, 0.8, 100, -80});
  const Unit unit = make_unit(graph, {1, 2});
  SeenNode seen{{}, channel_ranges(graph.params[0].value, 0)};
  const std::vector<Family> families{weight_family(Scheme::kSymmetric, Granularity::kTensor, seen, 4),
                                     weight_family(Scheme::kSymmetric, Granularity::kChannel, seen, 4)};
  const Found found = search_weight(graph, unit, images_for(graph, 2), families, kPlain);
  CHECK(std::string(granularity_name(found.quantizer)) == "channel");
}

TEST_CASE("search: values on a symmetric grid decide for symmetric, skewed ones for affine") {
  const auto scheme_for = [](std::vector<real> pixels) {
    const Graph graph = conv_graph({1, 0, 0, 1});
    const std::vector<Tensor> images{Tensor({1, 2, 2, 2}, std::move(pixels))};
    const Unit unit = make_unit(graph, {1, 2});
    const SeenInput seen{1, channel_ranges(images[0], 1)};
    std::vector<Family> families;
    for (const Scheme scheme : {Scheme::kAffine, Scheme::kSymmetric})
      families.push_back(input_family(scheme, Granularity::kTensor, seen, 4));
    const std::vector<UnitSample> samples = plain_samples(graph, unit, images);
    const UnitEvaluator evaluator(graph, unit, samples, Metric::kError, 1);
    const std::vector<LayerQuantizers> quantizers{{{Unquantized{}}, Unquantized{}, {}}};
    const SearchGrid grid{.alpha = 0.5, .beta = 1, .candidates = 51, .flavour = Flavour::kPlain};
    SearchMemory memory;
    return std::string(
        scheme_name(search_operand(evaluator, quantizers, {0, 0}, true, families, grid, memory).quantizer));
  };
  CHECK(scheme_for({-7, 7, -3, 5, 1, -2, 6, 4}) == "symmetric");
  CHECK(scheme_for({-0.27, -0.1, 0, 0.4, 1.3, 2.2, 3.1, 4.5}) == "affine");
}

TEST_CASE("search: a bridge judged by its output picks another scale than its layer alone") {
  // The projection does not read channel 1, whose weights are large. Alone the first layer spends its codes
  // on them.
  Graph graph;
  const Value x = conv2d(input(graph, {2, 2, 2}), "conv_1x1", 2, {});
  conv2d(x, "qkv", 1, {});
  graph.params[0].value = Tensor({2, 2, 1, 1}, {0.3, 0.1, 10, -7});
  graph.params[1].value = Tensor({1, 2, 1, 1}, {1, 0});
  const std::vector<Tensor> images = images_for(graph, 2);
  const SeenNode seen{{}, channel_ranges(graph.params[0].value, 0)};
  const std::vector<Family> families{weight_family(Scheme::kSymmetric, Granularity::kTensor, seen, 3)};
  const auto scale = [&](NodeRange range) {
    const Found found = search_weight(graph, make_unit(graph, range), images, families, kPlain);
    return double(uniform(found.quantizer, "test").scale[0]);
  };
  CHECK(scale({1, 2}) > 2);    // 10 / 3, or near it
  CHECK(scale({1, 3}) < 0.2);  // 0.3 and 0.1 get codes of their own
}

TEST_CASE("search: members of a family") {
  const Family both{Scheme::kAffine, -1, 1, {{-1, 4}}, 2}, upper{Scheme::kAffineUpper, -1, 1, {{-1, 4}}, 2};
  const std::vector<double> half{0.5};
  CHECK(member(both, half) == affine_params({{-0.5, 2}}, 2));
  CHECK(member(upper, half) == affine_params({{-1, 2}}, 2));
  const Family negative{Scheme::kAffineUpper, -1, 1, {{-4, -1}}, 2};
  CHECK(member(negative, half) == affine_params({{-4, -0.5}}, 2));
  Family wide = both;
  wide.axis = 1;
  wide.equalization = {1, 2};
  CHECK(member(wide, half).scale[1] == 2 * member(wide, half).scale[0]);
  CHECK(error_of([&] {
          member(both, std::vector{1.0, 1.0});
        }).starts_with("invalid_argument: [search] 2 factors"));
}

TEST_CASE("search: scores by hand") {
  const UnitSample sample{{}, Tensor({1, 2, 2}, {1, 2, 3, 4}), Tensor({1, 2, 2}, {1, 10, 100, 0}), {}};
  const Tensor output({1, 2, 2}, {2, 4, 3.5, 9});
  const Tensor outputs[] = {output, sample.output};
  const auto error = score_outputs(outputs, sample, 1, Metric::kError);
  CHECK(error[0][0].sums[0] == 1 + 10 * 4);
  CHECK(error[0][1].sums[0] == 100 * 0.25);
  CHECK(error[1][0].sums[0] + error[1][1].sums[0] == 0);  // the second one is exact
  CHECK(score_outputs(outputs, sample, 2, Metric::kError)[0][0].sums[0] == 1 + 25);
  UnitSample directed = sample;
  directed.directions = {Tensor({1, 2, 2}, {1, -1, 2, 2}), Tensor({1, 2, 2}, {1, 0, 0, 0})};
  const auto along = score_outputs(outputs, directed, 1, Metric::kError)[0];
  CHECK(along[0].sums[0] == 41 + 1 + 1);        // (1 - 2)^2 and 1^2
  CHECK(along[1].sums[0] == 25 + 11 * 11 + 0);  // (1 + 10)^2
  CHECK(score_outputs(outputs, directed, 2, Metric::kError)[0][0].sums[0] == 1 + 25 + (1 + 1) * (1 + 1) + 1);
  const Score cosine = score_outputs(outputs, sample, 1, Metric::kCosine)[0][0];
  CHECK(near(cosine.value(Metric::kCosine), 0, 1e-12));  // (2, 4) is twice (1, 2)
}

TEST_CASE("search: units are the bridge blocks and all other layers") {
  const Model model = generated_model(*find_arch("mobilevit_xxs"), 10, 64);
  const std::vector<Unit> units = search_units(model.graph, true), layers = search_units(model.graph, false);
  std::vector<int> seen;
  int bridges = 0;
  for (const Unit& unit : units) {
    seen.insert(seen.end(), unit.layers.begin(), unit.layers.end());
    if (unit.layers.size() == 1) continue;
    ++bridges;
    CHECK(unit.externals.size() == 1);
    REQUIRE(unit.layers.size() == 2);
    CHECK(model.graph.nodes[std::size_t(unit.layers[0])].name.ends_with(".conv_1x1"));
    CHECK(model.graph.nodes[std::size_t(unit.output())].name.ends_with(".0.attn.qkv"));
  }
  CHECK(bridges == 3);
  CHECK(seen == quantizable_nodes(model.graph));
  CHECK(layers.size() == seen.size());
}

TEST_CASE("sensitivity: at the logits it is the known gradient, and zero everywhere is an error") {
  const Graph graph = small_graph();
  const std::vector<Tensor> images = images_for(graph, 2);
  const QuantizedGraph coarse = quantize_minmax(graph, {.images = images, .wbits = 3, .abits = 3});
  const Unit fc = make_unit(graph, {int(graph.nodes.size()) - 1, int(graph.nodes.size())});
  const auto samples = [&](Signal signal, const QuantizedGraph& defaults) {
    return sample_units(graph, defaults, std::span(&fc, 1), images, {.signal = signal})[0];
  };
  const Tensor exact = softmax(run(graph, images[1]));
  const Tensor rounded = softmax(run(coarse.graph, images[1], fake_quant_hooks(coarse.graph, coarse.plan)));
  const Tensor importance = samples(Signal::kQuantized, coarse)[1].importance;
  for (std::int64_t i = 0; i < 4; ++i)
    CHECK(near(double(importance[i]), std::pow(double(rounded[i] - exact[i]), 2), 1e-6));
  // Each draw has one label: its direction is (p - label) / sqrt(draws), and the squares add up to the
  // importance.
  const UnitSample fisher = samples(Signal::kFisher, coarse)[1];
  REQUIRE(fisher.directions.size() == kFisherDraws);
  std::vector<double> squares(4, 0.0);
  for (const Tensor& direction : fisher.directions) {
    int labels = 0;
    for (std::int64_t i = 0; i < 4; ++i) {
      const double p = double(exact[i]), d = double(direction[i]) * std::sqrt(double(kFisherDraws));
      labels += near(d, p - 1, 1e-6);
      CHECK((near(d, p, 1e-6) || near(d, p - 1, 1e-6)));
      squares[std::size_t(i)] += double(direction[i]) * double(direction[i]);
    }
    CHECK(labels == 1);
  }
  for (std::int64_t i = 0; i < 4; ++i)
    CHECK(near(double(fisher.importance[i]), squares[std::size_t(i)], 1e-6));
  for (const Signal signal : {Signal::kPerturbation, Signal::kLowRank}) {
    const Tensor h = samples(signal, coarse)[0].importance;
    for (const real v : h.values()) CHECK((std::isfinite(v) && v >= 0));
  }
  CHECK(samples(Signal::kLowRank, coarse)[0].directions[0].shape() == Shape{1, 4});
  CHECK(error_of([&] {
          samples(Signal::kQuantized, {graph, {}});
        }) ==
        "invalid_argument: [quantized] the sensitivity signal is zero everywhere: the quantised network "
        "answers "
        "exactly as the float one does");
}

TEST_CASE("methods: every one improves its objective, and gives the same plan with 1 and 2 threads") {
  const Graph graph = small_graph();
  const std::vector<Tensor> images = images_for(graph, 6);
  for (const Method& method : methods()) {
    CAPTURE(method.name);
    const auto plan = [&](int threads) {
      return quantize_graph(method, graph, {.images = images, .wbits = 4, .abits = 4, .threads = threads})
          .plan;
    };
    const QuantPlan one = plan(1);
    CHECK(one == plan(2));
    CHECK(one.method == method.name);
    REQUIRE(one.layers.size() == 3);
    for (const LayerPlan& layer : one.layers)
      if (layer.score) CHECK(layer.score->after <= layer.score->before);
    CHECK(plan_from_json(plan_to_json(one), "p") == one);
  }
}

TEST_CASE("search: the fast flavour finds what the plain one finds, or nearly") {
  const Graph graph = small_graph();
  const std::vector<Tensor> images = images_for(graph, 8);
  const Unit unit = make_unit(graph, {1, 2});
  const SeenNode seen{{}, channel_ranges(graph.params[0].value, 0)};
  for (const Granularity granularity : {Granularity::kTensor, Granularity::kChannel}) {
    const std::vector<Family> families{weight_family(Scheme::kSymmetric, granularity, seen, 4)};
    const double fast = search_weight(graph, unit, images, families, {}).objective;
    const double plain = search_weight(graph, unit, images, families, kPlain).objective;
    CHECK(fast >= plain);
    CHECK(fast <= 1.05 * plain);
  }
}

TEST_CASE("bias correction: the means of outputs are those of the float network") {
  const Graph graph = small_graph();
  const std::vector<Tensor> images = images_for(graph, 4);
  QuantizedGraph quantized = quantize_minmax(graph, {.images = images, .wbits = 3, .abits = 3});
  const auto mean_error = [&] {  // of the second convolution, over images and positions, by channel
    const int node = find_node(graph, "filter");
    std::vector<double> error(6, 0.0);
    RunHooks exact, rounded = fake_quant_hooks(quantized.graph, quantized.plan);
    const auto add = [&](double sign) {
      return [&error, node, sign](int n, std::span<const Tensor* const>, const Tensor& y) {
        for (std::int64_t i = 0; n == node && i < y.size(); ++i)
          error[std::size_t(i / 36)] += sign * double(y[i]) / 144;
      };
    };
    exact.on_node = add(-1);
    rounded.on_node = add(1);
    for (const Tensor& image : images) {
      run(graph, image, exact);
      run(quantized.graph, image, rounded);
    }
    return std::abs(*std::ranges::max_element(error, {}, [](double e) { return std::abs(e); }));
  };
  CHECK(mean_error() > 0.01);
  correct_biases(quantized, graph, images, 2);
  CHECK(mean_error() < 1e-6);
}

TEST_CASE("search: interrupted after any unit, it goes on to the same plan") {
  const Graph graph = small_graph();
  const std::vector<Tensor> images = images_for(graph, 5);
  Calibration calibration{.images = images, .wbits = 4, .abits = 4, .threads = 2};
  const QuantizedGraph whole = quantize_qhyvit(graph, calibration);
  for (const int units : {1, 2}) {
    QuantPlan so_far;
    int saved = 0;
    calibration.save = [&](const QuantPlan& plan) {
      so_far = plan_from_json(plan_to_json(plan), "p");
      if (++saved == units) throw std::runtime_error("interrupted");
    };
    calibration.found = nullptr;
    CHECK(error_of([&] { quantize_qhyvit(graph, calibration); }) == "runtime_error: interrupted");
    CHECK(so_far.layers.size() == std::size_t(units));
    saved = 10;
    calibration.found = &so_far;
    const QuantizedGraph resumed = quantize_qhyvit(graph, calibration);
    CHECK(saved == 10 + 3 - units);  // the units that were found are not searched again
    CHECK(resumed.plan == whole.plan);
    for (std::size_t i = 0; i < graph.params.size(); ++i)
      CHECK(difference(resumed.graph.params[i].value, whole.graph.params[i].value, 0) == "");
  }
}

TEST_CASE("search: counts what it looks at, and what the plain flavour would have") {
  const Graph graph = small_graph();
  const std::vector<Tensor> images = images_for(graph, 8);
  const auto score = [&](Flavour flavour) {
    return *quantize_easyquant(graph, {.images = images, .wbits = 4, .abits = 4, .flavour = flavour})
                .plan.layers[0]
                .score;
  };
  const SearchScore fast = score(Flavour::kFast), plain = score(Flavour::kPlain);
  CHECK(plain.evaluations % (100 * 8) == 2 * 8);  // besides the searches: the objective, twice
  CHECK(plain.evaluations - 2 * 8 == plain.plain_evaluations);
  CHECK(fast.evaluations < fast.plain_evaluations / 4);
}

TEST_CASE("search: a tensor is not searched again while all others stand") {
  const Graph graph = small_graph();
  const std::vector<Tensor> images = images_for(graph, 4);
  const Unit unit = make_unit(graph, {1, 2});
  const std::vector<UnitSample> samples = plain_samples(graph, unit, images);
  const SeenNode seen{{}, channel_ranges(graph.params[0].value, 0)};
  const std::vector<SearchSpace> spaces{
      {{{}}, {weight_family(Scheme::kSymmetric, Granularity::kTensor, seen, 4)}}};
  const auto evaluations = [&](int rounds) {
    std::vector<LayerQuantizers> quantizers{{{Unquantized{}}, symmetric_params({{-8, 8}}, 4), {}}};
    const UnitEvaluator evaluator(graph, unit, samples, Metric::kError, 1);
    const SearchScore score = search_unit(evaluator, unit, quantizers, spaces, {.rounds = rounds});
    CHECK(score.after < score.before);
    return evaluator.evaluations();
  };
  CHECK(evaluations(3) == evaluations(1));
}

TEST_CASE("ablation: each variant has one ingredient more") {
  // The depthwise convolution's channels differ by a factor of 100, and what SiLU puts out is skewed.
  Graph graph = small_graph();
  Tensor& expand = graph.params[0].value;
  for (std::int64_t i = 0; i < 3; ++i) expand[i] *= 100;
  const std::vector<Tensor> images = images_for(graph, 4, 0, 1);
  const auto plan = [&](const char* method) {
    return quantize_graph(find_method(method), graph, {.images = images, .wbits = 4, .abits = 4}).plan;
  };
  const auto filter_input = [](const QuantPlan& p) { return p.layers[1].inputs[0].quantizer; };
  const auto is_symmetric = [](const TensorPlan& t) {
    return std::string(scheme_name(t.quantizer)) == "symmetric";
  };
  const QuantPlan base = plan("ablation-base"), scale = plan("ablation-scale"),
                  granularity = plan("ablation-granularity"), scheme = plan("ablation-scheme"),
                  equalized = plan("ablation-equalization");
  for (const LayerPlan& layer : base.layers) {
    CHECK(is_symmetric(layer.inputs[0]));
    CHECK(layer.score->before == layer.score->after);
  }
  std::vector<Range> seen;
  for (const Tensor& image : images) seen = merge(seen, {range_of(image)});
  CHECK(base.layers[0].inputs[0].quantizer == Quantizer(symmetric_params(seen, 4)));
  CHECK(std::string(granularity_name(filter_input(scale))) == "tensor");
  CHECK(scale.layers[0].score->after < base.layers[0].score->after);
  CHECK(
      std::ranges::all_of(granularity.layers, [&](const LayerPlan& l) { return is_symmetric(l.inputs[0]); }));
  CHECK(std::string(granularity_name(filter_input(granularity))) == "channel");
  CHECK(!std::ranges::all_of(scheme.layers, [&](const LayerPlan& l) { return is_symmetric(l.inputs[0]); }));
  const auto is_equalised = [](const LayerPlan& l) { return !l.equalization.empty(); };
  CHECK(std::ranges::none_of(scheme.layers, is_equalised));
  CHECK(std::ranges::any_of(equalized.layers, is_equalised));
}

TEST_CASE("search: factors of equalization come from half of the images, ranges from all") {
  // Channel 1 is large on the last image only: made for all images, its factor would be large too.
  Graph graph = conv_graph({1, 1, -1, 0.5});
  std::vector<Tensor> images = images_for(graph, 4);
  for (Tensor& image : images)
    for (std::int64_t i = 4; i < 8; ++i) image[i] *= real(0.05);
  for (std::int64_t i = 4; i < 8; ++i) images[3][i] *= 20;
  const LayerPlan layer =
      quantize_graph(find_method("qhyvit"), graph, {.images = images, .wbits = 8, .abits = 4}).plan.layers[0];
  const auto factors = [&](std::size_t count, double exponent) {
    std::vector<Range> seen;
    for (std::size_t i = 0; i < count; ++i) seen = merge(seen, channel_ranges(images[i], 1));
    return equalization(seen, exponent);
  };
  REQUIRE(!layer.equalization.empty());
  const std::vector<double> exponents{0.25, 0.5, 0.75, 1};
  CHECK(std::ranges::any_of(exponents, [&](double e) { return layer.equalization == factors(2, e); }));
  CHECK(std::ranges::none_of(exponents, [&](double e) { return layer.equalization == factors(4, e); }));
}
