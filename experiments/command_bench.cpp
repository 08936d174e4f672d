// bench: how long a forward pass takes, image decoding left out.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "experiments/commands.h"
#include "models/generated.h"
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
  std::optional<int> res;
};

double milliseconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

void bench(const Options& options, const GlobalOptions& global) {
  const Model model = load_model_or_arch(options.model, options.res);
  check_engine(global, model);
  const RunHooks hooks = model_hooks(model);
  // A thread takes whole images; a batch of one image is the work of one thread.
  const int threads = std::min(global.threads, options.batch);
  const Tensor image = generate_input(1, 3, model.res, model.res);
  const auto pass = [&] {
    parallel_for(options.batch, threads, [&](std::int64_t) { run(model.graph, image, hooks); });
  };
  for (int i = 0; i < 3; ++i) pass();
  std::vector<double> times;
  for (int i = 0; i < options.runs; ++i) times.push_back(milliseconds(pass));
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) { return times[std::size_t(share * double(times.size() - 1) + 0.5)]; };

  double macs = 0;
  for (const std::int64_t m : mac_counts(model.graph)) macs += double(m);
  const double gmacs = macs * options.batch / 1e9;
  if (!global.quiet) {
    std::printf(
        "%s at %d x %d, batch %d: median %.2f ms, min %.2f, p90 %.2f over %d runs; %.3f GMAC, %.1f GMAC/s\n",
        model.arch.name.c_str(), model.res, model.res, options.batch, at(0.5), at(0), at(0.9), options.runs,
        gmacs, gmacs / at(0.5) * 1000);
    std::printf("engine %s, threads %d, matrix products by %s (%s), CPU %s\n", model.engine(), threads,
                gemm_kernel().name, gemm_kernel().describe().c_str(), cpu_isa().c_str());
  }
  write_json(global, {{"arch", model.arch.name},
                      {"engine", model.engine()},
                      {"threads", threads},
                      {"batch", options.batch},
                      {"res", model.res},
                      {"runs", options.runs},
                      {"median_ms", at(0.5)},
                      {"min_ms", at(0)},
                      {"p90_ms", at(0.9)},
                      {"gmacs", gmacs},
                      {"kernels", gemm_kernel().name},
                      {"isa", cpu_isa()}});
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
  add_res_option(*command, options->res);
  command->callback([options, &global] { bench(*options, global); });
}

}  // namespace qhv
