#include "nn/training.h"

#include <algorithm>
#include <cmath>

#include "nn/run_tape.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

constexpr double kStatisticsMomentum = 0.1;

struct Shard {
  Backpropagated pass;
  int images = 0, correct = 0;
};

Shard run_shard(const Graph& graph, const Batch& batch, const StepOptions& options) {
  Shard shard;
  const auto loss = [&](Var logits) { return cross_entropy(logits, batch.labels, options.label_smoothing); };
  shard.pass = backpropagate(graph, batch.images, loss,
                             {.mode = NormMode::kTraining,
                              .wanted_params = trainable_params(graph),
                              .recompute = options.recompute});
  shard.images = int(batch.labels.size());
  const auto best = top_k(shard.pass.output, 1);
  for (std::size_t i = 0; i < best.size(); ++i) shard.correct += best[i][0] == batch.labels[i];
  return shard;
}

/// Gradients of the mean over the batch, by index of the trainable parameters.
std::vector<Tensor> sum_gradients(const Graph& graph, std::vector<Shard>& shards, int images, int threads) {
  std::vector<std::size_t> trainable;
  for (std::size_t p = 0; p < graph.params.size(); ++p)
    if (is_trainable(graph.params[p])) trainable.push_back(p);
  std::vector<Tensor> sums(trainable.size());
  parallel_for(std::int64_t(trainable.size()), threads, [&](std::int64_t i) {
    Tensor sum(graph.params[trainable[std::size_t(i)]].value.shape());
    for (Shard& shard : shards) {
      Tensor& gradient = shard.pass.params[trainable[std::size_t(i)]];
      const real weight = real(double(shard.images) / images);
      for (std::int64_t k = 0; k < sum.size(); ++k) sum[k] += weight * gradient[k];
      gradient = Tensor();
    }
    sums[std::size_t(i)] = std::move(sum);
  });
  return sums;
}

/// running += momentum * (mean over shards - running)
void blend(Tensor& running, const std::vector<const Tensor*>& shards, const std::vector<double>& factors) {
  for (std::int64_t c = 0; c < running.size(); ++c) {
    double mean = 0;
    for (std::size_t s = 0; s < shards.size(); ++s) mean += (*shards[s])[c] * factors[s];
    mean /= double(shards.size());
    running[c] = real(running[c] + kStatisticsMomentum * (mean - running[c]));
  }
}

void update_running_statistics(Graph& graph, const std::vector<Shard>& shards) {
  for (const auto& entry : shards.front().pass.statistics) {
    const int index = entry.first;
    const Node& node = graph.nodes[std::size_t(index)];
    std::vector<const Tensor*> means, vars;
    std::vector<double> ones, unbiased;
    for (const Shard& shard : shards) {
      const BatchStatistics& statistics = shard.pass.statistics.at(index);
      means.push_back(&statistics.mean);
      vars.push_back(&statistics.var);
      ones.push_back(1);
      unbiased.push_back(double(statistics.count) / std::max<double>(1, double(statistics.count - 1)));
    }
    blend(graph.params[std::size_t(node.params[2])].value, means, ones);
    blend(graph.params[std::size_t(node.params[3])].value, vars, unbiased);
  }
}

void update_average(TrainingState& state, double decay) {
  if (state.average.empty()) return;
  std::vector<const Tensor*> values;
  for (const Param& p : state.graph.params) values.push_back(&p.value);
  ema_update(state.average, values, ema_decay(decay, state.optimizer.step - 1));
}

}  // namespace

std::vector<Tensor*> trainable_values(Graph& graph) {
  std::vector<Tensor*> values;
  for (Param& p : graph.params)
    if (is_trainable(p)) values.push_back(&p.value);
  return values;
}

TrainingState begin_training(Graph graph, const OptimizerOptions& options, bool keep_average) {
  TrainingState state;
  state.graph = std::move(graph);
  state.optimizer.options = options;
  if (keep_average)
    for (const Param& p : state.graph.params) state.average.push_back(p.value);
  return state;
}

StepResult training_step(TrainingState& state, int shards, const std::function<Batch(int shard)>& load,
                         const StepOptions& options) {
  require(shards >= 1, "training_step", shards, " shards");
  std::vector<Shard> results(static_cast<std::size_t>(shards));
  parallel_for(shards, options.threads, [&](std::int64_t i) {
    results[std::size_t(i)] = run_shard(state.graph, load(int(i)), options);
  });

  StepResult step;
  for (const Shard& shard : results) {
    step.loss += shard.pass.loss * shard.images;
    step.correct += shard.correct;
    step.images += shard.images;
  }
  step.loss /= step.images;
  std::vector<Tensor> gradients = sum_gradients(state.graph, results, step.images, options.threads);
  step.gradient_norm = clip_global_norm(gradients, options.clip_norm > 0 ? options.clip_norm : INFINITY);
  if (!std::isfinite(step.loss) || !std::isfinite(step.gradient_norm))
    throw DivergedError(
        concat("the loss is not finite (loss ", step.loss, ", gradient norm ", step.gradient_norm, ")"));

  optimizer_step(state.optimizer, options.lr, trainable_values(state.graph), gradients, options.threads);
  update_running_statistics(state.graph, results);
  update_average(state, options.ema_decay);
  return step;
}

Graph averaged_graph(const TrainingState& state) {
  Graph graph = state.graph;
  for (std::size_t p = 0; p < state.average.size(); ++p) graph.params[p].value = state.average[p];
  return graph;
}

}  // namespace qhv
