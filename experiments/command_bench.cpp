// bench: how long a forward pass takes, or with --backward a forward and backward pass, image decoding left
// out.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "experiments/commands.h"
#include "experiments/peak_memory.h"
#include "experiments/timing.h"
#include "models/generated.h"
#include "models/mobilevit.h"
#include "nn/run_tape.h"
#include "nn/shapes.h"
#include "tensor/cpu.h"
#include "tensor/gemm.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

using nlohmann::json;

struct Options {
  std::string model;
  int batch = 1, runs = 30;
  bool backward = false;
  std::optional<int> res;
};

/// Forward and backward pass of a batch: gradients of the cross-entropy with respect to all parameters and
/// the input. As in training the batch is split among the threads, each part with BatchNorm statistics of its
/// own.
std::function<void()> backward_pass(const Graph& graph, int batch, int threads, int res, NormMode mode) {
  std::vector<std::pair<Tensor, std::vector<int>>> parts;
  for (int i = 0; i < threads; ++i) {
    const int size = batch / threads + (i < batch % threads);
    parts.emplace_back(generate_input(size, 3, res, res), std::vector<int>(std::size_t(size), i));
  }
  return [&graph, parts, threads, mode] {
    parallel_for(threads, threads, [&](std::int64_t i) {
      const auto& [images, labels] = parts[std::size_t(i)];
      backpropagate(graph, images, [&](Var logits) { return cross_entropy(logits, labels, 0); },
                    {.mode = mode, .wanted_params = trainable_params(graph), .input = true});
    });
  };
}

void print_times(const char* what, const Times& t, double forward_ms) {
  std::printf("%-38s median %.2f ms, min %.2f, p90 %.2f", what, t.median(), t.at(0), t.at(0.9));
  if (forward_ms > 0) std::printf(", %.2f times the forward pass", t.median() / forward_ms);
  std::printf("\n");
}

void bench(const Options& options, const GlobalOptions& global) {
  const Model model = load_model_or_arch(options.model, options.res);
  check_engine(global, model);
  if (options.backward && model.plan)
    file_error(options.model, "is quantised; --backward needs a float model");
  const RunHooks hooks = model_hooks(model);
  // A thread takes whole images; a batch of one image is the work of one thread.
  const int threads = std::min(global.threads, options.batch);
  const Tensor image = generate_input(1, 3, model.res, model.res);
  Graph unfolded;  // with its BatchNorms, for training mode
  std::vector<std::function<void()>> work{
      [&] { parallel_for(options.batch, threads, [&](std::int64_t) { run(model.graph, image, hooks); }); }};
  if (options.backward) {
    unfolded = build_mobilevit(model.arch, model.classes, model.res);
    generate_weights(unfolded);
    work.push_back(backward_pass(model.graph, options.batch, threads, model.res, NormMode::kInference));
    work.push_back(backward_pass(unfolded, options.batch, threads, model.res, NormMode::kTraining));
  }
  const std::vector<Times> times = time_in_turn(work, options.runs);

  double macs = 0;
  for (const std::int64_t m : mac_counts(model.graph)) macs += double(m);
  const double gmacs = macs * options.batch / 1e9, median = times[0].median();
  json result{{"arch", model.arch.name},
              {"engine", model.engine()},
              {"threads", threads},
              {"batch", options.batch},
              {"res", model.res},
              {"runs", options.runs},
              {"median_ms", median},
              {"min_ms", times[0].at(0)},
              {"p90_ms", times[0].at(0.9)},
              {"gmacs", gmacs},
              {"kernels", gemm_kernel().name},
              {"isa", cpu_isa()},
              {"peak_bytes", peak_bytes()}};
  if (options.backward) {
    result["backward_ms"] = times[1].median();
    result["backward_ratio"] = times[1].median() / median;
    result["training_ms"] = times[2].median();
    result["training_ratio"] = times[2].median() / median;
  }
  if (!global.quiet) {
    std::printf("%s at %d x %d, batch %d, %d runs; forward %.3f GMAC, %.1f GMAC/s\n", model.arch.name.c_str(),
                model.res, model.res, options.batch, options.runs, gmacs, gmacs / median * 1000);
    print_times("forward", times[0], 0);
    if (options.backward) {
      print_times("forward + backward, BatchNorm folded", times[1], median);
      print_times("forward + backward, BatchNorm training", times[2], median);
    }
    std::printf("engine %s, threads %d, matrix products by %s (%s), CPU %s, peak memory %.0f MB\n",
                model.engine(), threads, gemm_kernel().name, gemm_kernel().describe().c_str(),
                cpu_isa().c_str(), double(peak_bytes()) / 1e6);
  }
  write_json(global, result);
}

}  // namespace

void add_bench(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("bench", "Latency of a forward pass");
  command
      ->add_option("model", options->model,
                   "Checkpoint, quantised model, or an architecture's name (generated weights)")
      ->required()
      ->option_text("MODEL");
  command->add_option("--batch", options->batch, "Images in one pass (default 1)")
      ->check(CLI::Range(1, 1024));
  command->add_option("--runs", options->runs, "Timed passes, after 3 that are not (default 30)")
      ->check(CLI::Range(1, 100000));
  command->add_flag("--backward", options->backward,
                    "Also forward and backward pass together: gradients of all parameters and the input");
  add_res_option(*command, options->res);
  command->callback([options, &global] { bench(*options, global); });
}

}  // namespace qhv
