#include "experiments/quantize.h"

#include "data/dataset.h"
#include "experiments/evaluate.h"
#include "quant/methods/methods.h"

namespace qhv {

void add_calibration_options(CLI::App& command, QuantizeOptions& options) {
  command
      .add_option("--calib", options.calib,
                  "Folder of calibration images, or synthetic ones; labels are not needed")
      ->required()
      ->option_text("DIR or synthetic:SPLIT[:COUNT]");
  command.add_option("--images", options.images, "Calibration images, drawn by --seed (default 32)")
      ->check(CLI::Range(1, 1000000));
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const Method& method : methods()) names.push_back(method.name);
  return names;
}

std::string method_help() {
  std::string help = "One of";
  for (const Method& method : methods()) help += concat("\n", method.name, ": ", method.summary);
  return help;
}

Model load_float_model(const std::string& path, std::optional<int> res, const GlobalOptions& global) {
  Model model = load_model(path, res);
  if (model.plan) file_error(path, "is quantised already; a float checkpoint is needed");
  check_engine(global, model);
  return model;
}

Model quantize_model(Model model, const Preprocess& preprocess, const QuantizeOptions& options,
                     const GlobalOptions& global,
                     const std::function<void(const char* stage, double done)>& progress) {
  const std::vector<std::string> chosen =
      sample_images(list_images(options.calib), options.images, global.seed);
  const std::vector<Tensor> images = load_images(chosen, preprocess, global.threads);
  QuantizedGraph quantized = quantize_graph(find_method(options.method), model.graph,
                                            {images, options.wbits, options.abits, global.threads, progress});
  model.graph = std::move(quantized.graph);
  model.plan = std::move(quantized.plan);
  model.preprocess = preprocess_to_json(preprocess);
  return model;
}

}  // namespace qhv
