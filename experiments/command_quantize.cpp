// quantize: post-training quantisation of a checkpoint with a few unlabelled images.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "experiments/commands.h"
#include "experiments/evaluate.h"
#include "experiments/layer_table.h"
#include "experiments/peak_memory.h"
#include "experiments/progress.h"
#include "quant/methods/methods.h"
#include "tensor/file.h"

namespace qhv {
namespace {

using nlohmann::json;

struct Options {
  std::string model, calib, out, method;
  int wbits = 8, abits = 8, images = 32;
  ImageOptions image;
};

void quantize(const Options& options, const GlobalOptions& global) {
  const auto start = std::chrono::steady_clock::now();
  Model model = load_model(options.model, options.image.res);
  if (model.plan) file_error(options.model, "is quantised already; quantize needs a float checkpoint");
  check_engine(global, model);
  require_writable(options.out);
  const Preprocess preprocess = resolve_preprocess(options.image, model, options.model);
  const std::vector<std::string> chosen =
      sample_images(list_images(options.calib), options.images, global.seed);
  const std::vector<Tensor> images = load_images(chosen, preprocess, global.threads);

  QuantizedGraph quantized;
  {
    Progress progress(global.quiet);
    const Calibration calibration{images, options.wbits, options.abits, global.threads,
                                  [&](const char* stage, double done) { progress.update(stage, done); }};
    quantized = quantize_graph(find_method(options.method), model.graph, calibration);
  }
  model.graph = std::move(quantized.graph);
  model.plan = std::move(quantized.plan);
  model.preprocess = preprocess_to_json(preprocess);
  save_quantized(options.out, model);

  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto bytes = std::int64_t(std::filesystem::file_size(options.out));
  if (!global.quiet)
    std::printf("%s by %s, W%dA%d, %d images: %.1f s, peak memory %.0f MB; %s, %.2f MB\n",
                model.arch.name.c_str(), options.method.c_str(), options.wbits, options.abits, options.images,
                seconds, double(peak_bytes()) / 1e6, options.out.c_str(), double(bytes) / 1e6);
  write_json(global, {{"arch", model.arch.name},
                      {"method", options.method},
                      {"wbits", options.wbits},
                      {"abits", options.abits},
                      {"images", options.images},
                      {"seed", global.seed},
                      {"seconds", seconds},
                      {"peak_bytes", peak_bytes()},
                      {"file_bytes", bytes},
                      {"layers", layers_json(*model.plan)}});
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const Method& method : methods()) names.push_back(method.name);
  return names;
}

}  // namespace

void add_quantize(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("quantize", "Post-training quantisation");
  command->add_option("model", options->model, "Float checkpoint")->required()->option_text("MODEL");
  command
      ->add_option("--calib", options->calib,
                   "Folder of calibration images, or synthetic ones; labels are not needed")
      ->required()
      ->option_text("DIR or synthetic:SPLIT[:COUNT]");
  command->add_option("--out", options->out, "The quantised model, a safetensors file")
      ->required()
      ->option_text("FILE");
  std::string summary = "One of";
  for (const Method& method : methods()) summary += concat("\n", method.name, ": ", method.summary);
  command->add_option("--method", options->method, summary)->required()->check(CLI::IsMember(method_names()));
  command->add_option("--wbits", options->wbits, "Bits of the weights (default 8)")->check(CLI::Range(2, 8));
  command->add_option("--abits", options->abits, "Bits of the activations (default 8)")
      ->check(CLI::Range(2, 8));
  command->add_option("--images", options->images, "Calibration images, drawn by --seed (default 32)")
      ->check(CLI::Range(1, 1000000));
  add_image_options(*command, options->image);
  command->callback([options, &global] { quantize(*options, global); });
}

}  // namespace qhv
