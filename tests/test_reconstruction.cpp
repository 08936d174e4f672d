// Roundings chosen by gradients.
#include <cmath>
#include <doctest/doctest.h>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "models/model.h"
#include "nn/build.h"
#include "nn/passes.h"
#include "quant/fake_quant.h"
#include "quant/methods/methods.h"
#include "quant/reconstruction/learn_piece.h"
#include "quant/reconstruction/soft_rounding.h"
#include "tests/support.h"

using namespace qhv;

namespace {

/// A linear layer of 4 inputs and 3 outputs behind which nothing comes. In steps of one, rounding to the
/// nearest code changes each row's sum by 1.2 in magnitude.
Graph small_layer() {
  Graph graph;
  linear(global_avg_pool(input(graph, {4, 1, 1}), "pool"), "fc", 3);
  generate_weights(graph);
  const real weights[] = {3, 0.4f, 1.42f, 0.38f, 3, -1.4f, -0.39f, -0.41f, 3, 0.6f, 1.62f, 2.58f};
  std::copy(std::begin(weights), std::end(weights), graph.params[0].value.data());
  return graph;
}

/// With weights of 3 bits, activations in 8.
QuantizedGraph quantized(const Graph& graph, std::span<const Tensor> images, int wbits) {
  return quantize_graph(find_method("minmax"), graph, {.images = images, .wbits = wbits, .abits = 8});
}

/// The sum of squared errors of all outputs over all images.
double error_of(const Graph& graph, const Graph& reference, const QuantPlan& plan,
                std::span<const Tensor> images) {
  const RunHooks hooks = fake_quant_hooks(reference, plan);
  double sum = 0;
  for (const Tensor& x : images) {
    const Tensor y = run(graph, x, hooks), expected = run(reference, x);
    for (std::int64_t i = 0; i < y.size(); ++i) sum += std::pow(double(y[i]) - double(expected[i]), 2);
  }
  return sum;
}

bool equal_params(const Graph& a, const Graph& b) {
  for (std::size_t p = 0; p < a.params.size(); ++p)
    if (test::difference(a.params[p].value, b.params[p].value, 0) != "") return false;
  return true;
}

std::vector<Tensor> random_images(int count, const Shape& shape) {
  std::vector<Tensor> images;
  for (int i = 0; i < count; ++i) images.push_back(test::random_tensor(shape, std::uint64_t(i + 1), 0, 1));
  return images;
}

}  // namespace

TEST_CASE("soft rounding: begins at the weight, ends on the grid, and its gradient is that of the weight") {
  const Tensor w = test::random_tensor({3, 4}, 1);
  const QParams q = symmetric_params(channel_ranges(w, 0), 3, 0);
  SoftRounding rounding(w, q, {});
  for (std::int64_t i = 0; i < w.size(); ++i)
    CHECK(std::abs(rounding.weight()[i] - w[i]) <= 0.0015 * double(q.scale[std::size_t(i / 4)]));
  CHECK(rounding.flipped() == 0);
  CHECK(test::difference(rounding.rounded_weight(), fake_quantize(w, q), 1e-6) == "");

  const Tensor dw = test::random_tensor({3, 4}, 2), v = rounding.variables();
  const Tensor dv = rounding.gradient(dw);
  Tensor regularizer(v.shape());
  const double at = rounding.regularize(4, 0.5, regularizer);
  CHECK(at > 0);
  for (std::int64_t i = 0; i < v.size(); ++i) {
    const auto moved = [&](double by) {
      Tensor other = v;
      other[i] = real(double(other[i]) + by);
      SoftRounding at_other = rounding;
      at_other.set_variables(other);
      Tensor unused(v.shape());
      return std::pair(double(at_other.weight()[i]), at_other.regularize(4, 0.5, unused));
    };
    const auto above = moved(1e-2), below = moved(-1e-2);
    CHECK(std::abs((above.first - below.first) / 2e-2 * dw[i] - dv[i]) < 1e-3);
    CHECK(std::abs((above.second - below.second) / 2e-2 - regularizer[i]) < 4e-3);  // powers are of a table
  }
}

TEST_CASE("adaround finds the best of all roundings of a layer of 3 x 4 weights") {
  const Graph reference = small_layer();
  // The inputs rise and fall together, so that errors of weights add up or cancel.
  std::vector<Tensor> images = random_images(12, {1, 4, 1, 1});
  for (std::size_t i = 0; i < images.size(); ++i)
    for (real& v : images[i].values()) v = real(0.1 * double(v) + double(i + 1) / 12);
  QuantizedGraph q = quantized(reference, images, 3);
  const int fc = find_node(reference, "fc"), param = reference.nodes[std::size_t(fc)].params[0];
  const Tensor& weight = reference.params[std::size_t(param)].value;
  const QParams& grid = std::get<QParams>(q.plan.layers.back().weight->quantizer);

  // The outputs do not depend on each other: each has its own sixteen roundings.
  const double unrounded = error_of(reference, reference, q.plan, images);  // of activations alone
  double best = unrounded;
  const double nearest = error_of(q.graph, reference, q.plan, images);
  for (std::int64_t o = 0; o < 3; ++o) {
    double least = std::numeric_limits<double>::infinity();
    for (int choice = 0; choice < 16; ++choice) {
      Graph trial = reference;
      for (std::int64_t i = 0; i < 4; ++i) {
        const double s = double(grid.scale[std::size_t(o)]),
                     floor = std::floor(double(weight[o * 4 + i]) / s);
        const double code = std::clamp(floor + (choice >> i & 1), double(grid.qmin), double(grid.qmax));
        trial.params[std::size_t(param)].value[o * 4 + i] = real(code * s);
      }
      least = std::min(least, error_of(trial, reference, q.plan, images));
    }
    best += least - unrounded;
  }
  ReconstructOptions options = reconstruct_options(Reconstruction::kAdaRound);
  options.iterations = 600;
  reconstruct(q, reference, images, options);
  const std::vector<PieceTrace>& traces = q.plan.reconstruction.pieces;
  const double found = error_of(q.graph, reference, q.plan, images);
  CHECK(best < 0.2 * nearest);
  CHECK(found <= best * (1 + 1e-6));
  REQUIRE(traces.size() == 1);
  CHECK(traces[0].flipped > 0);
}

TEST_CASE("pieces cover the graph, and a bridge block is one of them") {
  const Graph graph = fold_batch_norm(build_mobilevit(*find_arch("mobilevit_xxs"), 10, 64));
  for (const Pieces kind : {Pieces::kLayers, Pieces::kBlocks, Pieces::kBridges}) {
    int next = 1;
    std::size_t layers = 0;
    for (const Piece& piece : pieces_of(graph, kind)) {
      CHECK(piece.unit.range.begin == next);
      next = piece.unit.range.end;
      layers += piece.unit.layers.size();
      CHECK(!piece.outputs.empty());
    }
    CHECK(next == int(graph.nodes.size()));
    CHECK(layers == quantizable_nodes(graph).size());
    for (const Block& block : graph.blocks) {
      if (block.kind != BlockKind::kBridge) continue;
      const auto pieces = pieces_of(graph, kind);
      CHECK((std::ranges::count_if(pieces, [&](const Piece& p) {
               return p.unit.range.begin == block.begin && p.unit.range.end == block.end;
             }) == 1) == (kind == Pieces::kBridges));
    }
  }
}

TEST_CASE("reconstruction: no piece ends worse, and the seed makes the bits with any number of threads") {
  const Graph reference = generated_model(*find_arch("mobilevit_xxs"), 5, 64).graph;
  const std::vector<Tensor> images = random_images(4, {1, 3, 64, 64});
  const QuantizedGraph start = quantized(reference, images, 4);
  for (const Reconstruction kind : {Reconstruction::kErq, Reconstruction::kBridge}) {
    ReconstructOptions options = reconstruct_options(kind);
    options.iterations = 6;
    options.batch = 3;
    const auto with = [&](int threads, std::uint64_t seed) {
      options.threads = threads;
      options.seed = seed;
      QuantizedGraph q = start;
      reconstruct(q, reference, images, options);
      return q;
    };
    const QuantizedGraph one = with(1, 1), two = with(2, 1);
    CHECK(one.plan == two.plan);
    CHECK(equal_params(one.graph, two.graph));
    if (kind == Reconstruction::kBridge) CHECK(!equal_params(one.graph, with(2, 2).graph));
    for (const PieceTrace& piece : one.plan.reconstruction.pieces)
      CHECK((piece.kept || piece.after < piece.before));
    // Weights lie on their grids, so that rounding them again changes nothing.
    Graph again = one.graph;
    quantize_weights(again, one.plan);
    for (std::size_t p = 0; p < again.params.size(); ++p)
      CHECK(test::difference(again.params[p].value, one.graph.params[p].value, 1e-6) == "");
  }
}

TEST_CASE("reconstruction: one that stopped after some pieces goes on to the same bits") {
  const Graph reference = generated_model(*find_arch("mobilevitv2_050"), 5, 64).graph;
  const std::vector<Tensor> images = random_images(4, {1, 3, 64, 64});
  ReconstructOptions options = reconstruct_options(Reconstruction::kBridge);
  options.iterations = 2;
  options.batch = 2;
  options.ridge = true;
  QuantizedGraph whole = quantized(reference, images, 4), part;
  options.save = [&] {
    if (whole.plan.reconstruction.pieces.size() == 5) part = whole;
  };
  reconstruct(whole, reference, images, options);
  REQUIRE(part.plan.reconstruction.pieces.size() == 5);
  options.save = {};
  reconstruct(part, reference, images, options);
  CHECK(part.plan == whole.plan);
  CHECK(equal_params(part.graph, whole.graph));
}

TEST_CASE("reconstruction: a piece that diverges keeps its start") {
  const Graph reference = small_layer();
  const std::vector<Tensor> images = random_images(8, {1, 4, 1, 1});
  QuantizedGraph q = quantized(reference, images, 8);
  const Graph start = q.graph;
  ReconstructOptions options = reconstruct_options(Reconstruction::kBrecq);
  options.iterations = 20;
  options.rounding_lr = options.bias_lr = options.step_lr = 1e6;
  reconstruct(q, reference, images, options);
  REQUIRE(q.plan.reconstruction.pieces.size() == 1);
  CHECK(q.plan.reconstruction.pieces[0].kept);
  CHECK(q.plan.reconstruction.pieces[0].after == q.plan.reconstruction.pieces[0].before);
  CHECK(equal_params(q.graph, start));
}
