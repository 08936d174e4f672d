// bench: how long a forward pass takes and where the time goes, image decoding left out; with --backward also
// a forward and backward pass on the tape, with --peaks what the machine can do at best.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "experiments/commands.h"
#include "experiments/peak_memory.h"
#include "experiments/profile.h"
#include "experiments/timing.h"
#include "models/generated.h"
#include "models/mobilevit.h"
#include "nn/run_tape.h"
#include "nn/shapes.h"
#include "quant/methods/methods.h"
#include "tensor/cpu.h"
#include "tensor/gemm.h"
#include "tensor/kernels/peaks.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

using nlohmann::json;

struct Options {
  std::string model;
  int batch = 1, runs = 30;
  bool backward = false, peaks = false;
  std::string trace;
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

/// Two ways to share a batch among threads: all on every step of the whole batch, or each with images of its
/// own.
enum class Sharing { kInside, kImages };

/// A forward pass of a batch x; where threads have images of their own, x is one image, taken `batch` times.
class Forward {
 public:
  Forward(const Model& model, Tensor x, int batch, int threads, Sharing sharing, const std::string& kernels)
      : images_(sharing == Sharing::kImages),
        streams_(images_ ? std::min(threads, batch) : 1),
        pool_(streams_),
        runner_(model, images_ ? 1 : batch, streams_, images_ ? 1 : threads, kernels),
        batch_(batch),
        x_(std::move(x)) {}

  void operator()() {
    if (!images_)
      runner_.run(x_);
    else
      pool_.run(batch_, [&](std::int64_t, int thread) { runner_.run(x_, thread); });
  }
  Runner& runner() { return runner_; }
  const Tensor& input() const { return x_; }

 private:
  bool images_;
  int streams_;
  ThreadPool pool_;
  Runner runner_;
  int batch_;
  Tensor x_;
};

std::string kernels_of(const Runner& runner) {
  const std::string name = runner.kernels();
  return name == "reference" ? gemm_kernel().name : name;
}

json json_of(const Peaks& peaks) {
  return {{"gmacs", peaks.gmacs}, {"int8_gmacs", peaks.int8_gmacs}, {"gbytes", peaks.gbytes}};
}

void print_peaks(const Peaks& peaks, int threads, const FloatKernels& floats,
                 const IntegerKernels& integers) {
  std::printf("peaks of %d thread%s: %.1f GMAC/s float32 (%s), ", threads, threads > 1 ? "s" : "",
              peaks.gmacs, floats.name);
  if (peaks.int8_gmacs > 0) std::printf("%.1f GMAC/s int8 (%s), ", peaks.int8_gmacs, integers.name);
  std::printf("memory %.1f GB/s\n", peaks.gbytes);
}

/// Gives a network with generated weights a full plan: for its speed, not for its answers.
void quantize_for_speed(Model& model) {
  const std::vector<Tensor> images{generate_input(1, 3, model.res, model.res)};
  QuantizedGraph q = quantize_graph(find_method("minmax"), model.graph, {.images = images, .full = true});
  model.graph = std::move(q.graph);
  model.plan = std::move(q.plan);
}

/// `bench --peaks` without a model.
void bench_machine(const GlobalOptions& global) {
  if (global.kernels == "reference")
    throw CLI::ValidationError("--peaks", "the reference interpreter has no kernels to measure");
  const bool named = !global.kernels.empty(), of_integers = global.engine == "int8";
  const FloatKernels& floats =
      named && !of_integers ? find_float_kernels(global.kernels) : best_float_kernels();
  const IntegerKernels& integers =
      named && of_integers ? find_integer_kernels(global.kernels) : best_integer_kernels();
  const Peaks peaks = measure_peaks(floats, integers, global.threads);
  if (!global.quiet) print_peaks(peaks, global.threads, floats, integers);
  write_json(global, {{"peaks", json_of(peaks)},
                      {"threads", global.threads},
                      {"kernels", floats.name},
                      {"integer_kernels", integers.name}});
}

void bench(const Options& options, const GlobalOptions& global) {
  if (options.model.empty()) {
    if (!options.peaks) throw CLI::RequiredError("MODEL, or --peaks");
    return bench_machine(global);
  }
  Model model;
  double load_ms =
      milliseconds([&] { model = load_model_or_arch(options.model, options.res, in_integers(global)); });
  if (global.engine == "int8" && find_arch(options.model)) quantize_for_speed(model);
  select_engine(global, model);
  if (options.backward && model.plan)
    file_error(options.model, "is quantised; --backward needs a float model");
  const auto input = [&](int batch) { return generate_input(batch, 3, model.res, model.res); };
  Tensor x = input(options.batch);
  std::optional<Forward> inside;
  load_ms += milliseconds([&] {
    inside.emplace(model, std::move(x), options.batch, global.threads, Sharing::kInside, global.kernels);
  });
  Runner& runner = inside->runner();
  const bool compiled = runner.is_compiled();
  if (!options.trace.empty() && !compiled)
    throw CLI::ValidationError("--profile", "the reference interpreter has no steps to show");
  std::vector<std::function<void()>> work{[&] { (*inside)(); }};
  std::optional<Forward> by_image;
  if (options.batch > 1 && global.threads > 1) {
    by_image.emplace(model, input(1), options.batch, global.threads, Sharing::kImages, global.kernels);
    work.push_back([&] { (*by_image)(); });
  }
  const std::size_t backward = work.size();
  const int by_image_threads = std::min(global.threads, options.batch),
            threads = compiled ? global.threads : by_image_threads;  // the interpreter has no threads inside
  Graph unfolded;                                                    // with its BatchNorms, for training mode
  if (options.backward) {
    unfolded = build_mobilevit(model.arch, model.classes, model.res);
    generate_weights(unfolded);
    work.push_back(
        backward_pass(model.graph, options.batch, by_image_threads, model.res, NormMode::kInference));
    work.push_back(backward_pass(unfolded, options.batch, by_image_threads, model.res, NormMode::kTraining));
  }
  const std::vector<Times> times = time_in_turn(work, options.runs);
  const Times& best = by_image && times[1].median() < times[0].median() ? times[1] : times[0];

  double macs = 0;
  for (const std::int64_t m : mac_counts(model.graph)) macs += double(m);
  const double gmacs = macs * options.batch / 1e9, median = best.median();
  json result{{"arch", model.arch.name},
              {"engine", model.engine()},
              {"threads", threads},
              {"batch", options.batch},
              {"res", model.res},
              {"runs", options.runs},
              {"median_ms", median},
              {"min_ms", best.at(0)},
              {"p90_ms", best.at(0.9)},
              {"gmacs", gmacs},
              {"kernels", kernels_of(runner)},
              {"isa", cpu_isa()}};
  if (by_image) {
    result["inside_ms"] = times[0].median();
    result["by_image_ms"] = times[1].median();
  }
  if (options.backward) {
    result["backward_ms"] = times[backward].median();
    result["backward_ratio"] = times[backward].median() / median;
    result["training_ms"] = times[backward + 1].median();
    result["training_ratio"] = times[backward + 1].median() / median;
  }
  result["peak_bytes"] = peak_bytes();
  const bool from_file = !find_arch(options.model);
  if (from_file) result["load_ms"] = load_ms;

  std::vector<StepTime> steps;
  const FloatKernels& floats = best_float_kernels();
  const IntegerKernels& integers =
      model.in_integers ? find_integer_kernels(runner.kernels()) : best_integer_kernels();
  Peaks peaks;
  double peak_gmacs = 0;  // of the arithmetic that the engine has
  if (compiled) {
    result["arena_bytes"] = runner.memory_bytes();
    result["weight_bytes"] = runner.weight_bytes();
    peaks = measure_peaks(floats, integers, global.threads);
    peak_gmacs = model.in_integers && peaks.int8_gmacs > 0 ? peaks.int8_gmacs : peaks.gmacs;
    result["peaks"] = json_of(peaks);
    steps = profile(runner, inside->input(), options.runs);
    for (const KindTime& kind : by_kind(steps))
      result["operators"].push_back({{"operator", kind.kind},
                                     {"steps", kind.steps},
                                     {"ms", kind.ms},
                                     {"macs", kind.macs},
                                     {"bytes", kind.bytes}});
    if (!options.trace.empty()) write_trace(options.trace, steps);
  }

  if (!global.quiet) {
    std::printf("%s at %d x %d, batch %d, %d runs; forward %.3f GMAC, %.1f GMAC/s\n", model.arch.name.c_str(),
                model.res, model.res, options.batch, options.runs, gmacs, gmacs / median * 1000);
    if (from_file) std::printf("loaded in %.1f ms, until the first image can run\n", load_ms);
    print_times(by_image ? "forward, threads inside of the batch" : "forward", times[0], 0);
    if (by_image) print_times("forward, each thread its own images", times[1], 0);
    if (options.backward) {
      print_times("forward + backward, BatchNorm folded", times[backward], median);
      print_times("forward + backward, BatchNorm training", times[backward + 1], median);
    }
    if (compiled) {
      print_profile(steps, peak_gmacs);
      if (options.peaks) print_peaks(peaks, global.threads, floats, integers);
      std::printf("arithmetic floor %.2f ms, of which the median is %.2f times\n", gmacs / peak_gmacs * 1000,
                  median / (gmacs / peak_gmacs * 1000));
    }
    std::printf(
        "engine %s, threads %d, kernels %s, CPU %s, weights %.1f MB, buffers %.1f MB, peak memory %.0f MB\n",
        model.engine(), threads, kernels_of(runner).c_str(), cpu_isa().c_str(),
        double(runner.weight_bytes()) / 1e6, double(runner.memory_bytes()) / 1e6,
        result["peak_bytes"].get<double>() / 1e6);
  }
  report_islands(global, model, result);
  write_json(global, result);
}

}  // namespace

void add_bench(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("bench", "Latency of a forward pass, and where the time goes");
  command
      ->add_option("model", options->model,
                   "Checkpoint, quantised model, or an architecture's name (generated weights)")
      ->option_text("MODEL");
  command->add_option("--batch", options->batch, "Images in one pass (default 1)")
      ->check(CLI::Range(1, 1024));
  command->add_option("--runs", options->runs, "Timed passes, after 3 that are not (default 30)")
      ->check(CLI::Range(1, 100000));
  command->add_flag("--backward", options->backward,
                    "Also forward and backward pass together: gradients of all parameters and the input");
  command->add_flag("--peaks", options->peaks,
                    "Also, or without a model alone, what the machine can do at best: arithmetic and memory");
  command
      ->add_option("--profile", options->trace,
                   "Write a trace of one pass, for chrome://tracing or https://ui.perfetto.dev")
      ->option_text("FILE");
  add_res_option(*command, options->res);
  command->callback([options, &global] { bench(*options, global); });
}

}  // namespace qhv
