// quantize: post-training quantisation of a checkpoint with a few unlabelled images.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "experiments/budget.h"
#include "experiments/commands.h"
#include "experiments/gnuplot.h"
#include "experiments/interrupted_run.h"
#include "experiments/layer_table.h"
#include "experiments/peak_memory.h"
#include "experiments/progress.h"
#include "experiments/quantize.h"
#include "experiments/reconstruction_choice.h"
#include "tensor/file.h"

namespace qhv {
namespace {

using nlohmann::json;

struct Options {
  std::string model, out;
  bool fast = false;
  std::string budget_curve, budget_plot;  // files, or empty
  QuantizeOptions quantize;
  ImageOptions image;
};

/// The method and what follows it; --reconstruct says the latter for a method alone.
QuantizeOptions resolved(const Options& options) {
  QuantizeOptions how = options.quantize;
  if (options.fast && how.method != kBestName)
    throw CLI::ValidationError("--fast", concat("is for --method ", kBestName, ", not ", how.method));
  const Recipe recipe = parse_recipe(options.fast ? kFastRecipe : how.method, "--method");
  how.method = recipe.method;
  if (recipe.reconstruction != kNoReconstruction && how.reconstruction != kNoReconstruction)
    throw CLI::ValidationError("--reconstruct", concat("--method says ", recipe.reconstruction, " already"));
  if (recipe.reconstruction != kNoReconstruction) how.reconstruction = recipe.reconstruction;
  parse_reconstruction(how.reconstruction, "--reconstruct");
  return how;
}

void quantize(const Options& options, const GlobalOptions& global) {
  const QuantizeOptions how = resolved(options);
  const auto start = std::chrono::steady_clock::now();
  Model model = load_float_model(options.model, options.image.res);
  select_engine(global, model);
  require_writable(options.out);
  if (!options.budget_plot.empty()) require_gnuplot();
  const Preprocess preprocess = resolve_preprocess(options.image, model, options.model);
  const std::vector<Tensor> images = calibration_images(how, preprocess, global);
  const std::vector<Tensor> to_learn_from = reconstruction_images(how, preprocess, global);
  Calibration calibration = calibration_of(how, model.graph, images, global);
  {
    Progress progress(global.quiet);
    calibration.progress = [&](const char* stage, double done) { progress.update(stage, done); };
    apply_budget(how, model.graph, options.budget_curve, options.budget_plot, calibration);
  }
  const InterruptedRun run(options.out, how.method, model, calibration, reconstruction_text(how));
  {
    Progress progress(global.quiet);
    calibration.progress = [&](const char* stage, double done) { progress.update(stage, done); };
    calibration.save = [&](const QuantPlan& so_far) { run.save(so_far); };
    calibration.found = run.found();
    if (run.reconstructed() && !global.quiet)
      std::fprintf(stderr, "goes on from %s.reconstruct: %zu pieces are done\n", options.out.c_str(),
                   run.reconstructed()->plan->reconstruction.pieces.size());
    else if (calibration.found && !global.quiet)
      std::fprintf(stderr, "goes on from %s.search: %zu layers are found\n", options.out.c_str(),
                   calibration.found->layers.size());
    const Model reference = model;
    model = run.reconstructed() ? *run.reconstructed()
                                : quantize_model(std::move(model), preprocess, how.method, calibration);
    if (how.reconstruction != kNoReconstruction) {
      run.save(*model.plan);
      reconstruct_model(model, reference, how, to_learn_from, global, calibration.progress,
                        [&](const Model& so_far) { run.save(so_far); });
    }
  }
  save_quantized(options.out, model);
  run.remove();

  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto bytes = std::int64_t(std::filesystem::file_size(options.out));
  if (!global.quiet)
    std::printf("%s by %s, W%dA%d, %d images: %.1f s, peak memory %.0f MB; %s, %.2f MB\n",
                model.arch.name.c_str(), how.method.c_str(), how.wbits, how.abits, how.images, seconds,
                double(peak_bytes()) / 1e6, options.out.c_str(), double(bytes) / 1e6);
  write_json(global, {{"arch", model.arch.name},
                      {"method", how.method},
                      {"wbits", how.wbits},
                      {"abits", how.abits},
                      {"images", how.images},
                      {"seed", global.seed},
                      {"full", how.full},
                      {"seconds", seconds},
                      {"peak_bytes", peak_bytes()},
                      {"file_bytes", bytes},
                      {"layers", layers_json(*model.plan, model.graph)}});
}

}  // namespace

void add_quantize(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("quantize", "Post-training quantisation");
  command->add_option("model", options->model, "Float checkpoint")->required()->option_text("MODEL");
  add_calibration_options(*command, options->quantize);
  add_reconstruction_options(*command, options->quantize);
  add_budget_options(*command, options->quantize);
  command->add_option("--budget-curve", options->budget_curve, "CSV file: what each budget would lose")
      ->option_text("FILE");
  command->add_option("--budget-plot", options->budget_plot, "The same as a picture")
      ->option_text("FILE.svg");
  command->add_option("--out", options->out, "The quantised model, a safetensors file")
      ->required()
      ->option_text("FILE");
  QuantizeOptions& how = options->quantize;
  command->add_option("--method", how.method, method_help())->required()->option_text("METHOD[+KIND]");
  command->add_flag("--fast", options->fast, concat("With --method ", kBestName, ": ", kFastRecipe));
  command
      ->add_option("--reconstruct", how.reconstruction,
                   concat("Then choose how weights are rounded; default none. ", reconstruction_help()))
      ->option_text("KIND[:PART...]");
  command->add_option("--wbits", how.wbits, "Bits of the weights, 2 to 8 or 16 (default 8)")
      ->check(CLI::Range(2, 8) | CLI::IsMember({16}));
  command->add_option("--abits", how.abits, "Bits of the activations, 2 to 8 or 16 (default 8)")
      ->check(CLI::Range(2, 8) | CLI::IsMember({16}));
  add_image_options(*command, options->image);
  command->callback([options, &global] { quantize(*options, global); });
}

}  // namespace qhv
