// A training step and the file of a run, on a small network with generated images.
#include <cmath>
#include <doctest/doctest.h>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "nn/build.h"
#include "nn/init.h"
#include "nn/run_tape.h"
#include "nn/training.h"
#include "nn/training_file.h"
#include "tensor/file.h"
#include "tensor/safetensors.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

constexpr int kClasses = 3, kSide = 16;

/// Convolution, BatchNorm, SiLU, pooling, classifier.
Graph small_network() {
  Graph graph;
  Value x = input(graph, {3, kSide, kSide});
  x = silu(batch_norm(conv2d(x, "conv", 8, {.kernel = 3, .stride = 2, .pad = 1}), "bn"), "act");
  linear(global_avg_pool(x, "pool"), "fc", kClasses);
  initialize(graph, 5);
  return graph;
}

/// Two images for each shard; an image is brighter in the plane of its label.
Batch batch_of(int step, int shard) {
  Batch batch{random_tensor({2, 3, kSide, kSide}, std::uint64_t(100 * step + shard), 0, 1), {}};
  for (int i = 0; i < 2; ++i) {
    const int label = (step + 2 * shard + i) % kClasses;
    batch.labels.push_back(label);
    for (std::int64_t k = 0; k < kSide * kSide; ++k)
      batch.images[(i * 3 + label) * kSide * kSide + k] += real(0.5);
  }
  return batch;
}

StepResult take_step(TrainingState& state, int step, int threads, double lr = 0.01) {
  return training_step(
      state, 4, [step](int shard) { return batch_of(step, shard); },
      {.lr = lr, .label_smoothing = 0.1, .clip_norm = 1, .ema_decay = 0.9, .threads = threads});
}

std::string difference_of(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  if (a.size() != b.size()) return "number of tensors";
  for (std::size_t i = 0; i < a.size(); ++i)
    if (const std::string wrong = difference(a[i], b[i], 0); !wrong.empty()) return concat(i, ": ", wrong);
  return "";
}

/// Empty if two states are the same bits.
std::string difference_of(const TrainingState& a, const TrainingState& b) {
  if (a.optimizer.step != b.optimizer.step) return "step";
  for (std::size_t p = 0; p < a.graph.params.size(); ++p)
    if (const std::string wrong = difference(a.graph.params[p].value, b.graph.params[p].value, 0);
        !wrong.empty())
      return a.graph.params[p].name + ": " + wrong;
  return difference_of(a.average, b.average) + difference_of(a.optimizer.first, b.optimizer.first) +
         difference_of(a.optimizer.second, b.optimizer.second);
}

TrainingState begin(Graph graph = small_network()) { return begin_training(std::move(graph), {}, true); }

}  // namespace

TEST_CASE("training: the same bits with 1, 2 and 3 threads") {
  for (const bool whole_network : {false, true}) {
    Graph graph = small_network();
    if (whole_network) {
      graph = build_mobilevit(*find_arch("mobilevit_xxs"), kClasses, 32);
      initialize(graph, 5);
    }
    TrainingState one = begin(graph), two = begin(graph), three = begin(graph);
    const auto step = [&](TrainingState& state, int number, int threads) {
      return training_step(state, 4,
                           [&](int shard) {
                             Batch batch = batch_of(number, shard);
                             if (whole_network) batch.images = resize_bilinear(batch.images, 32, 32, false);
                             return batch;
                           },
                           {.lr = 0.01, .clip_norm = 1, .ema_decay = 0.9, .threads = threads});
    };
    for (int i = 0; i < 3; ++i) {
      const double loss = step(one, i, 1).loss;
      CHECK(step(two, i, 2).loss == loss);
      CHECK(step(three, i, 3).loss == loss);
    }
    CHECK(difference_of(one, two) == "");
    CHECK(difference_of(one, three) == "");
    CHECK(difference_of(one, begin(graph)) != "");
  }
}

TEST_CASE("training: a resumed run ends with the bits of one that did not stop") {
  const TemporaryFolder folder;
  TrainingState straight = begin(), stopped = begin();
  for (int i = 0; i < 4; ++i) take_step(straight, i, 2);
  for (int i = 0; i < 2; ++i) take_step(stopped, i, 2);
  save_training(folder / "run", stopped, "what the caller said");
  TrainingState resumed = begin();
  std::string said;
  load_training(folder / "run", resumed, [&](const std::string& options) { said = options; });
  CHECK(said == "what the caller said");
  CHECK(difference_of(resumed, stopped) == "");
  for (int i = 2; i < 4; ++i) take_step(resumed, i, 1);
  CHECK(difference_of(resumed, straight) == "");
}

TEST_CASE("training: one shard is plain backpropagation, several are their mean") {
  const Graph graph = small_network();
  TrainingState state =
      begin_training(graph, {.kind = OptimizerKind::kSgd, .momentum = 0, .weight_decay = 0}, false);
  const StepResult result =
      training_step(state, 2, [](int shard) { return batch_of(0, shard); }, {.lr = 0.5, .threads = 1});
  CHECK(result.images == 4);
  double loss = 0, squares = 0;
  std::vector<Tensor> mean(graph.params.size());
  for (int shard = 0; shard < 2; ++shard) {
    const Batch batch = batch_of(0, shard);
    const Backpropagated pass =
        backpropagate(graph, batch.images, [&](Var v) { return cross_entropy(v, batch.labels, 0); },
                      {.mode = NormMode::kTraining, .wanted_params = trainable_params(graph)});
    loss += pass.loss / 2;
    for (std::size_t p = 0; p < mean.size(); ++p) {
      if (shard == 0) mean[p] = Tensor(pass.params[p].shape());
      for (std::int64_t i = 0; i < mean[p].size(); ++i) mean[p][i] += pass.params[p][i] / 2;
    }
  }
  CHECK(near(result.loss, loss, 1e-6));
  for (std::size_t p = 0; p < mean.size(); ++p) {
    if (!is_trainable(graph.params[p])) continue;
    Tensor expected = graph.params[p].value;
    for (std::int64_t i = 0; i < expected.size(); ++i) {
      expected[i] -= real(0.5) * mean[p][i];
      squares += double(mean[p][i]) * mean[p][i];
    }
    CHECK(difference(state.graph.params[p].value, expected, 1e-6) == "");
  }
  CHECK(near(result.gradient_norm, std::sqrt(squares), 1e-5));
}

TEST_CASE("training: running statistics are the mean over shards, the variance unbiased") {
  TrainingState state = begin();
  const Graph before = state.graph;
  take_step(state, 0, 1);
  const Node& bn = before.nodes[std::size_t(find_node(before, "bn"))];
  std::vector<double> mean(8), var(8);
  const double count = 2 * 8 * 8;
  for (int shard = 0; shard < 4; ++shard) {
    const Tensor y = conv2d(batch_of(0, shard).images, before.params[0].value, nullptr,
                            {.kernel = 3, .stride = 2, .pad = 1});
    const BatchStatistics s = batch_statistics(y);
    for (std::size_t c = 0; c < 8; ++c) {
      mean[c] += s.mean[std::int64_t(c)] / 4;
      var[c] += s.var[std::int64_t(c)] * count / (count - 1) / 4;
    }
  }
  for (std::size_t c = 0; c < 8; ++c) {
    const auto now = [&](int i) {
      return state.graph.params[std::size_t(bn.params[std::size_t(i)])].value[std::int64_t(c)];
    };
    CHECK(near(now(2), 0.1 * mean[c], 1e-6));
    CHECK(near(now(3), 0.9 + 0.1 * var[c], 1e-6));
  }
}

TEST_CASE("training: the loss falls and the average follows") {
  TrainingState state = begin();
  const double first = take_step(state, 0, 2).loss;
  StepResult last;
  for (int i = 1; i < 60; ++i) last = take_step(state, i % 3, 2, 0.05);
  CHECK(last.loss < 0.7 * first);
  CHECK(last.correct >= 7);
  CHECK(last.images == 8);
  const Graph averaged = averaged_graph(state);
  CHECK(difference(averaged.params[0].value, state.graph.params[0].value, 0) != "");
  CHECK(difference(averaged.params[0].value, state.graph.params[0].value, 0.5) == "");
}

TEST_CASE("training: the average warms up, and gradients are clipped by their common norm") {
  const Graph graph = small_network();
  TrainingState state =
      begin_training(graph, {.kind = OptimizerKind::kSgd, .momentum = 0, .weight_decay = 0}, true);
  const auto load = [](int shard) { return batch_of(0, shard); };
  Tensor expected = graph.params[0].value;
  for (int step = 0; step < 2; ++step) {
    std::vector<Tensor> before;
    for (const Tensor* value : trainable_values(state.graph)) before.push_back(*value);
    const StepResult result =
        training_step(state, 2, load, {.lr = 0.5, .clip_norm = 0.125, .ema_decay = 0.9, .threads = 1});
    CHECK(result.gradient_norm > 0.125);
    double squares = 0;
    const std::vector<Tensor*> after = trainable_values(state.graph);
    for (std::size_t p = 0; p < before.size(); ++p)
      for (std::int64_t i = 0; i < before[p].size(); ++i)
        squares += std::pow(double((*after[p])[i]) - double(before[p][i]), 2);
    CHECK(near(std::sqrt(squares), 0.5 * 0.125, 1e-6));

    const double decay = step == 0 ? 1.0 / 10 : 2.0 / 11;
    const Tensor& value = state.graph.params[0].value;
    for (std::int64_t i = 0; i < expected.size(); ++i)
      expected[i] = real(decay * expected[i] + (1 - decay) * value[i]);
    CHECK(difference(state.average[0], expected, 1e-6) == "");
  }
}

TEST_CASE("training: recomputation changes no bit of a step") {
  TrainingState plain = begin(), recomputed = begin();
  const auto load = [](int shard) { return batch_of(0, shard); };
  training_step(plain, 2, load, {.lr = 0.01, .ema_decay = 0.9});
  training_step(recomputed, 2, load, {.lr = 0.01, .ema_decay = 0.9, .recompute = true});
  CHECK(difference_of(plain, recomputed) == "");
}

TEST_CASE("training: a loss that is not finite is an error and changes nothing") {
  TrainingState state = begin();
  take_step(state, 0, 1);
  const TrainingState before = state;
  const auto poisoned = [](int shard) {
    Batch batch = batch_of(1, shard);
    if (shard == 2) batch.images[7] = NAN;
    return batch;
  };
  CHECK_THROWS_AS(training_step(state, 4, poisoned, {.lr = 0.01, .threads = 2}), DivergedError);
  CHECK(difference_of(state, before) == "");
  CHECK(error_of([&] { training_step(state, 0, poisoned, {}); }).find("0 shards") != std::string::npos);
}

TEST_CASE("training file: what is damaged or of another network is refused, and changes nothing") {
  const TemporaryFolder folder;
  const std::string path = folder / "run";
  TrainingState state = begin();
  take_step(state, 0, 1);
  save_training(path, state, "");
  const TensorFile good = read_safetensors(path);
  for (const char* name :
       {"param.bn.running_var", "average.bn.running_var", "first.fc.weight", "second.fc.weight"})
    CHECK(good.tensors.contains(name));
  const auto refused = [&](const std::string& words, const std::function<void(TensorFile&)>& damage) {
    TensorFile file = good;
    damage(file);
    write_safetensors(path, file);
    TrainingState target = begin();
    const std::string error = error_of([&] { load_training(path, target, [](const std::string&) {}); });
    INFO(error);
    CHECK(error.starts_with("runtime_error: " + path));
    CHECK(error.find(words) != std::string::npos);
    CHECK(difference_of(target, begin()) == "");
  };
  refused("first.fc.weight is missing", [](TensorFile& f) { f.tensors.erase("first.fc.weight"); });
  refused("average.bn.bias has shape [2] instead of [8]",
          [](TensorFile& f) { f.tensors["average.bn.bias"] = to_raw_f32(Tensor({2})); });
  refused("param.fc.bias is not finite",
          [](TensorFile& f) { f.tensors["param.fc.bias"] = to_raw_f32(Tensor({3}, real(INFINITY))); });
  refused("tensors instead of", [](TensorFile& f) { f.tensors.emplace("more", to_raw_f32(Tensor({1}))); });
  refused("is not a file of training", [](TensorFile& f) { f.metadata.clear(); });
  refused("malformed metadata", [](TensorFile& f) { f.metadata.begin()->second = "{"; });
  refused("is of version 2", [](TensorFile& f) { f.metadata.begin()->second = R"({"version": 2})"; });
  refused("step -1",
          [](TensorFile& f) { f.metadata.begin()->second = R"({"version": 1, "step": -1, "options": ""})"; });
  write_file(path, "no such format");
  CHECK(error_of([&] {
          load_training(path, state, [](const std::string&) {});
        }).starts_with("runtime_error: " + path));
}
