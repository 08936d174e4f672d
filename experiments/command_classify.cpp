// classify: what a network sees in single images.
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "experiments/commands.h"
#include "experiments/evaluate.h"

namespace qhv {
namespace {

using nlohmann::json;

struct Options {
  std::string model, classes;
  std::vector<std::string> images;
  int top = 5;
  ImageOptions image;
};

/// From the file, one name a line; without one what the model remembers, or else numbers.
std::vector<std::string> class_names(const std::string& path, const Model& model) {
  std::vector<std::string> names;
  if (path.empty()) {
    if (!model.labels.empty()) return model.labels;
    for (int i = 0; i < model.classes; ++i) names.push_back(std::to_string(i));
    return names;
  }
  std::ifstream file(path);
  if (!file) file_error(path, "cannot be read");
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  if (names.size() != std::size_t(model.classes))
    file_error(path, "names ", names.size(), " classes, the model has ", model.classes);
  return names;
}

void classify(const Options& options, const GlobalOptions& global) {
  Model model = load_model(options.model, options.image.res, in_integers(global));
  select_engine(global, model);
  const std::vector<std::string> names = class_names(options.classes, model);
  const Preprocess preprocess = resolve_preprocess(options.image, model, options.model);
  const std::vector<Prediction> predictions = predict(
      model, options.images, preprocess,
      {.batch = 1, .threads = global.threads, .top = options.top, .progress = {}, .kernels = global.kernels});
  for (const Prediction& p : predictions)
    if (!p.error.empty()) throw std::runtime_error(p.error);

  json result = json::array();
  for (const Prediction& p : predictions) {
    json top = json::array();
    if (!global.quiet) std::printf("%s\n", p.path.c_str());
    for (std::size_t i = 0; i < p.classes.size(); ++i) {
      const std::string& name = names[std::size_t(p.classes[i])];
      if (!global.quiet) std::printf("  %6.2f %%  %s\n", 100 * p.probabilities[i], name.c_str());
      top.push_back({{"class", name}, {"index", p.classes[i]}, {"probability", p.probabilities[i]}});
    }
    result.push_back({{"image", p.path}, {"top", top}});
  }
  json report{{"arch", model.arch.name}, {"engine", model.engine()}, {"predictions", result}};
  report_islands(global, model, report);
  write_json(global, report);
}

}  // namespace

void add_classify(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("classify", "The most probable classes of images");
  command->add_option("model", options->model, "Checkpoint or quantised model")
      ->required()
      ->option_text("MODEL");
  command->add_option("images", options->images, "JPEG, PNG or BMP files, or synthetic:SPLIT#INDEX")
      ->required()
      ->option_text("IMAGE...");
  command->add_option("--classes", options->classes, "File with one class name a line")->option_text("FILE");
  command->add_option("--top", options->top, "How many classes to show (default 5)")
      ->check(CLI::Range(1, 1000000));
  add_image_options(*command, options->image);
  command->callback([options, &global] { classify(*options, global); });
}

}  // namespace qhv
