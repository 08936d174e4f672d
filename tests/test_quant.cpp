#include <cmath>
#include <doctest/doctest.h>
#include <limits>
#include <nlohmann/json.hpp>

#include "nn/build.h"
#include "nn/passes.h"
#include "nn/shapes.h"
#include "quant/fake_quant.h"
#include "quant/methods/methods.h"
#include "quant/metrics.h"
#include "tests/support.h"

using namespace qhv;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

/// conv -> BatchNorm -> SiLU -> pool -> linear, with random weights.
Graph small_graph() {
  Graph g;
  Value x = input(g, {2, 6, 6});
  x = conv2d(x, "conv", 4, {.kernel = 3, .pad = 1});
  x = batch_norm(x, "bn");
  x = silu(x, "act");
  x = global_avg_pool(x, "pool");
  linear(x, "fc", 3);
  for (std::size_t i = 0; i < g.params.size(); ++i) {
    const bool variance = g.params[i].name.ends_with("running_var");
    g.params[i].value =
        test::random_tensor(g.params[i].value.shape(), i, variance ? 0.5 : -1, variance ? 1.5 : 1);
  }
  return fold_batch_norm(g);
}

std::vector<Tensor> small_images(int count) {
  std::vector<Tensor> images;
  for (int i = 0; i < count; ++i)
    images.push_back(test::random_tensor({1, 2, 6, 6}, 100 + std::uint64_t(i), -0.5, 2));
  return images;
}

}  // namespace

TEST_CASE("symmetric parameters: scale max / (2^(b-1) - 1), zero point 0") {
  const QParams q = symmetric_params({{-2.54, 1.0}}, 8);
  CHECK(q.scale[0] == float(2.54 / 127));
  CHECK(q.zero_point[0] == 0);
  CHECK(q.qmin == -127);
  CHECK(q.qmax == 127);
  CHECK(bit_width(q) == 8);
  CHECK(std::string(scheme_name(q)) == "symmetric");
  const QParams narrow = symmetric_params({{-7, 3}, {0, 14}}, 4, 1);
  CHECK(narrow.scale == std::vector<float>{1, 2});
  CHECK(narrow.qmin == -7);
  CHECK(bit_width(narrow) == 4);
  CHECK(std::string(granularity_name(narrow)) == "channel");
}

TEST_CASE("affine parameters cover zero, so that the zero point is a code") {
  const QParams mixed = affine_params({{-1, 4.1}}, 8);  // scale 5.1 / 255 = 0.02
  CHECK(test::near(mixed.scale[0], 0.02, 1e-8));
  CHECK(mixed.zero_point[0] == 50);
  const QParams positive = affine_params({{3, 5.1}}, 8);  // all positive: extended down to zero
  CHECK(test::near(positive.scale[0], 0.02, 1e-8));
  CHECK(positive.zero_point[0] == 0);
  const QParams negative = affine_params({{-5.1, -3}}, 8);
  CHECK(negative.zero_point[0] == 255);
  for (const QParams& q : {mixed, positive, negative}) CHECK(fake_quantize(0.0, q) == 0.0);
}

TEST_CASE("degenerate ranges are decided, not accidental") {
  CHECK(affine_params({{0, 0}}, 8).scale[0] == 1.0f);
  CHECK(symmetric_params({{0, 0}}, 8).scale[0] == 1.0f);
  CHECK(symmetric_params({{-1e-44, 1e-44}}, 8).scale[0] == 1.0f);
  CHECK(test::error_of([] {
          affine_params({{0, kInf}}, 8);
        }).starts_with("invalid_argument: [quantize] range"));
  CHECK(test::error_of([] {
          affine_params({{std::nan(""), 1}}, 8);
        }).starts_with("invalid_argument: [quantize] range"));
  CHECK(
      test::error_of([] { affine_params({Range{}}, 8); }).starts_with("invalid_argument: [quantize] range"));
  CHECK(test::error_of([] {
          affine_params({{0, 1}}, 9);
        }) == "invalid_argument: [quantize] 9 bits (2 to 8 and 16 are possible)");
  CHECK(test::error_of([] {
          symmetric_params({{0, 1}}, 1);
        }).starts_with("invalid_argument: [quantize] 1 bits"));
}

TEST_CASE("codes: ties to even, clipping at both ends, the same in one pass and in two") {
  const QParams q{{0.5f}, {3}, -1, 0, 15};
  const Tensor x({9}, {0, 0.25, 0.75, 1.25, -0.25, 6, 6.3, 100, -100});
  const TensorI32 codes = quantize(x, q);
  // x / scale: 0, .5, 1.5, 2.5, -.5, 12, 12.6, 200, -200
  const std::vector<std::int32_t> expected{3, 3, 5, 5, 3, 15, 15, 15, 0};
  for (std::int64_t i = 0; i < 9; ++i) CHECK(codes[i] == expected[std::size_t(i)]);
  const Tensor twice = dequantize(codes, q), once = fake_quantize(x, q);
  CHECK(test::difference(once, twice, 0) == "");
  CHECK(once[7] == 6);
  CHECK(once[8] == -1.5);
  for (std::int64_t i = 0; i < 9; ++i) CHECK(double(once[i]) == fake_quantize(double(x[i]), q));
  CHECK(std::isnan(fake_quantize(Tensor({1}, {real(NAN)}), q)[0]));
  CHECK(test::error_of([&] { quantize(Tensor({1}, {real(NAN)}), q); }) ==
        "invalid_argument: [quantize] NaN at element 0");
}

TEST_CASE("per-channel parameters follow their axis") {
  const Tensor x({2, 3, 2}, {1, 2, 10, 20, 100, 200, 3, 4, 30, 40, 300, 400});
  const std::vector<Range> ranges = channel_ranges(x, 1);
  REQUIRE(ranges.size() == 3);
  CHECK(ranges[1].lo == 10);
  CHECK(ranges[2].hi == 400);
  const QParams q = symmetric_params({{0, 127}, {0, 1270}, {0, 12700}}, 8, 1);
  const TensorI32 codes = quantize(x, q);
  for (const auto& [index, code] : {std::pair{0, 1}, {2, 1}, {4, 1}, {7, 4}, {9, 4}, {11, 4}})
    CHECK(codes[index] == code);
}

TEST_CASE("parameters that do not fit are refused") {
  const Shape shape{2, 3};
  const auto error = [&](QParams q) { return test::error_of([&] { validate(q, shape, "layer"); }); };
  CHECK(error({{1}, {0}, -1, -127, 127}) == "no error");
  CHECK(error({{1, 1}, {0, 0}, 1, -127, 127}).find("2 scales and 2 zero points for 3 channels") !=
        std::string::npos);
  CHECK(error({{0}, {0}, -1, -127, 127}).find("scale 0") != std::string::npos);
  CHECK(error({{-1}, {0}, -1, -127, 127}).find("scale -1") != std::string::npos);
  CHECK(error({{NAN}, {0}, -1, -127, 127}).find("scale nan") != std::string::npos);
  CHECK(error({{1}, {300}, -1, 0, 255}).find("zero point 300 outside of the codes 0 .. 255") !=
        std::string::npos);
  CHECK(error({{1}, {0}, 2, 0, 255}).find("axis 2") != std::string::npos);
  CHECK(error({{1}, {0}, -1, 5, 5}).find("codes 5 .. 5") != std::string::npos);
}

TEST_CASE("ranges see every element and refuse what is not a number") {
  for (const std::int64_t size : {1, 15, 16, 17, 33}) {
    for (std::int64_t at = 0; at < size; ++at) {
      Tensor x({size}, real(0.5));
      x[at] = -3;
      CHECK(range_of(x).lo == -3);
      x[at] = 7;
      CHECK(range_of(x).hi == 7);
      x[at] = real(NAN);
      CHECK(test::error_of([&] { range_of(x); }) != "no error");
      x[at] = real(kInf);
      CHECK(test::error_of([&] { range_of(x); }) != "no error");
    }
  }
  CHECK(range_of(Tensor()).empty());
  CHECK(merge({1, 2}, Range{}).hi == 2);
}

TEST_CASE("histogram: quantiles and the error of a quantiser") {
  Tensor x({1000});
  for (std::int64_t i = 0; i < 1000; ++i) x[i] = real(i) / 1000;
  x[999] = 100;  // one outlier in a thousand
  Histogram h({0, 100}, 100000);
  h.add(x);
  const Range all = h.quantile_range(1), most = h.quantile_range(0.999);
  CHECK(test::near(all.hi, 100, 1e-9));
  CHECK(test::near(most.hi, 0.999, 1.1e-3));  // to one bin
  CHECK(test::near(most.lo, 0.001, 1.1e-3));

  double direct = 0;
  const QParams q = affine_params({most}, 4);
  for (const real v : x.values()) direct += std::pow(double(v) - fake_quantize(double(v), q), 2) / 1000;
  CHECK(test::near(h.quantization_error(q), direct, 0.01 * direct));

  Histogram first({0, 100}, 100000), second({0, 100}, 100000);
  first.add(Tensor({1}, {1}));
  second.add(Tensor({3}, {2, 3, 4}));
  first.merge(second);
  CHECK(test::near(first.quantile_range(0.6).lo, 2, 1.1e-3));
}

TEST_CASE("percentile clips an outlier that min-max keeps") {
  const Graph graph = small_graph();
  std::vector<Tensor> images = small_images(64);  // 4608 pixels: one is less than 0.1 %
  images[5][7] = 500;
  const Calibration calibration{.images = images, .wbits = 8, .abits = 8, .threads = 2};
  const float whole =
      uniform(quantize_minmax(graph, calibration).plan.layers[0].inputs[0].quantizer, "test").scale[0];
  const float clipped =
      uniform(quantize_percentile(graph, calibration).plan.layers[0].inputs[0].quantizer, "test").scale[0];
  CHECK(test::near(whole, 500.5 / 255, 0.01));
  CHECK(clipped <= whole);
  // At 2 bits the outlier's step of 167 would wipe out everything else; the error then prefers to clip.
  const Calibration coarse{.images = images, .wbits = 8, .abits = 8, .threads = 1};
  const QuantizedGraph again = quantize_percentile(graph, coarse);
  CHECK(again.plan == quantize_percentile(graph, calibration).plan);  // whatever the number of threads
}

TEST_CASE("min-max on a small network: the plan is the one computed by hand") {
  const Graph graph = small_graph();
  const std::vector<Tensor> images = small_images(3);
  const QuantizedGraph quantized =
      quantize_graph(find_method("minmax"), graph, {.images = images, .wbits = 8, .abits = 8, .threads = 2});
  REQUIRE(quantized.plan.layers.size() == 2);
  const LayerPlan& conv = quantized.plan.layers[0];
  CHECK(conv.node == "conv");
  Range seen;
  for (const Tensor& image : images) seen = merge(seen, range_of(image));
  CHECK(conv.inputs[0].quantizer == Quantizer(affine_params({seen}, 8)));
  const Tensor& weight = graph.params[0].value;
  REQUIRE(graph.params[0].name == "conv.weight");
  CHECK(uniform(conv.weight->quantizer, "test") == symmetric_params(channel_ranges(weight, 0), 8, 0));
  CHECK(test::difference(quantized.graph.params[0].value,
                         fake_quantize(weight, uniform(conv.weight->quantizer, "test")), 0) == "");

  // The layer's output with rounded input and weight, against the float one.
  Sqnr sqnr;
  for (const Tensor& image : images)
    sqnr.add(conv2d(image, weight, &graph.params[1].value, {.kernel = 3, .pad = 1}),
             conv2d(fake_quantize(image, uniform(conv.inputs[0].quantizer, "test")),
                    quantized.graph.params[0].value, &graph.params[1].value, {.kernel = 3, .pad = 1}));
  CHECK(test::near(conv.sqnr_db, sqnr.db(), 1e-9));
  CHECK(conv.sqnr_db > 35);
  CHECK(conv.weight->sqnr_db > 35);

  // Running with the hooks is the same as rounding by hand between the layers.
  const Tensor y = run(quantized.graph, images[0], fake_quant_hooks(quantized.graph, quantized.plan));
  const Tensor hidden = global_avg_pool(
      silu(conv2d(fake_quantize(images[0], uniform(conv.inputs[0].quantizer, "test")),
                  quantized.graph.params[0].value, &graph.params[1].value, {.kernel = 3, .pad = 1})));
  const Tensor expected =
      linear(fake_quantize(hidden, uniform(quantized.plan.layers[1].inputs[0].quantizer, "test")),
             quantized.graph.params[2].value, &graph.params[3].value);
  CHECK(test::difference(y, expected, 0) == "");
}

TEST_CASE("inputs of a depthwise convolution are quantised per channel, all others per tensor") {
  Graph g;
  Value x = input(g, {2, 4, 4});
  x = conv2d(x, "depthwise", 2, {.kernel = 3, .pad = 1, .groups = 2});
  conv2d(x, "pointwise", 3, {});
  for (std::size_t i = 0; i < g.params.size(); ++i)
    g.params[i].value = test::random_tensor(g.params[i].value.shape(), i);
  Tensor image = test::random_tensor({1, 2, 4, 4}, 1, 0, 1);
  for (std::int64_t i = 16; i < 32; ++i) image[i] *= 1000;  // the second channel drowns the first
  const std::vector<Tensor> images{image};
  for (const char* method : {"minmax", "percentile"}) {
    const QuantPlan plan =
        quantize_graph(find_method(method), g, {.images = images, .wbits = 8, .abits = 8, .threads = 1}).plan;
    const QParams& q = uniform(plan.layers[0].inputs[0].quantizer, "test");
    CHECK(q == affine_params(channel_ranges(image, 1), 8, 1));
    CHECK(q.scale[1] > 500 * q.scale[0]);
    CHECK(uniform(plan.layers[1].inputs[0].quantizer, "test").axis == -1);
  }
}

TEST_CASE("more bits, less noise") {
  const Graph graph = small_graph();
  const std::vector<Tensor> images = small_images(4);
  double before = -kInf;
  for (const int bits : {2, 4, 6, 8}) {
    const QuantizedGraph q = quantize_graph(find_method("minmax"), graph,
                                            {.images = images, .wbits = bits, .abits = bits, .threads = 1});
    CHECK(q.plan.layers[0].sqnr_db > before + 6);
    before = q.plan.layers[0].sqnr_db;
  }
}

TEST_CASE("a plan survives JSON exactly, and a malformed one is an error") {
  const Graph graph = small_graph();
  const std::vector<Tensor> images = small_images(2);
  QuantPlan plan = quantize_graph(find_method("percentile"), graph,
                                  {.images = images, .wbits = 6, .abits = 7, .threads = 1})
                       .plan;
  plan.layers[0].sqnr_db = kInf;
  auto& scale = std::get<QParams>(plan.layers[0].inputs[0].quantizer).scale[0];
  for (const float value : {0.1f, 1e-38f, 3.4e38f, std::nextafter(1.0f, 2.0f)}) {
    scale = value;
    CHECK(plan_from_json(plan_to_json(plan), "p") == plan);
  }
  scale = 0.1f;  // written with as few digits as there can be
  CHECK(plan_to_json(plan).at("layers").at(0).at("inputs").at(0).at("scale").dump() == "[0.1]");
  for (const char* text : {"null", "[]", "{}", "{\"method\":1,\"wbits\":8,\"abits\":8,\"layers\":[]}",
                           "{\"method\":\"m\",\"wbits\":8,\"abits\":8,\"layers\":[{}]}"})
    CHECK(test::error_of([&] {
            plan_from_json(nlohmann::json::parse(text), "file");
          }).starts_with("runtime_error: file: malformed plan"));
}

TEST_CASE("a plan that does not fit its graph is refused, by layer") {
  const Graph graph = small_graph();
  const std::vector<Tensor> images = small_images(2);
  const QuantPlan plan =
      quantize_minmax(graph, {.images = images, .wbits = 8, .abits = 8, .threads = 1}).plan;
  const auto error = [&](auto change) {
    QuantPlan wrong = plan;
    change(wrong);
    return test::error_of([&] { validate(wrong, graph); });
  };
  CHECK(error([](QuantPlan&) {}) == "no error");
  CHECK(error([](QuantPlan& p) { p.layers[0].node = "other"; }).find("no node \"other\"") !=
        std::string::npos);
  CHECK(error([](QuantPlan& p) { p.layers[0].node = "act"; }).find("[act]") != std::string::npos);
  CHECK(error([](QuantPlan& p) { p.layers[1] = p.layers[0]; }).find("two plans") != std::string::npos);
  CHECK(error([](QuantPlan& p) { p.layers[0].inputs.clear(); }).find("0 input plans") != std::string::npos);
  CHECK(error([](QuantPlan& p) { p.layers[0].weight.reset(); }).find("no plan for the weight") !=
        std::string::npos);
  CHECK(error([](QuantPlan& p) {
          std::get<QParams>(p.layers[0].weight->quantizer).scale.pop_back();
        }).find("[conv, weight]") != std::string::npos);
}

TEST_CASE("calibration without images, with NaN, and unknown methods") {
  Graph graph = small_graph();
  CHECK(test::error_of([&] { quantize_minmax(graph, {}); }) == "invalid_argument: [calibrate] no images");
  CHECK(test::error_of([] {
          find_method("magic");
        }).starts_with("invalid_argument: [quantize] no method \"magic\" (there are minmax, percentile, "));
  std::vector<Tensor> images = small_images(2);
  images[1][3] = real(NAN);
  CHECK(test::error_of([&] {
          quantize_minmax(graph, {.images = images, .wbits = 8, .abits = 8, .threads = 2});
        }) == "invalid_argument: [conv] NaN or infinite activation in input 0");
}

TEST_CASE("SQNR by hand") {
  Sqnr s;
  s.add(Tensor({2}, {3, 4}), Tensor({2}, {3, real(3.5)}));
  CHECK(test::near(s.db(), 20, 1e-12));  // 25 / 0.25
  CHECK(Sqnr{1, 0}.db() == kInf);
  CHECK(Sqnr{0, 0}.db() == 0);
  CHECK(Sqnr{0, 1}.db() == -kInf);
}
