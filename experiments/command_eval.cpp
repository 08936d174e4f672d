// eval: accuracy over DIR/<class>/* or synthetic images.
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "experiments/commands.h"
#include "experiments/evaluate.h"
#include "experiments/progress.h"

namespace qhv {
namespace {

using nlohmann::json;

struct Options {
  std::string model, data, against;
  int limit = 0, batch = 1;
  ImageOptions image;
};

void eval(const Options& options, const GlobalOptions& global) {
  Model model = load_model(options.model, options.image.res, in_integers(global));
  select_engine(global, model);
  const Preprocess preprocess = resolve_preprocess(options.image, model, options.model);
  std::optional<Model> other;
  if (!options.against.empty()) other = load_model(options.against, preprocess.res);
  if (other && other->classes != model.classes)
    file_error(options.against, "has ", other->classes, " classes, ", options.model, " has ", model.classes);
  const std::vector<Sample> samples = labelled_samples(options.data, model.classes, options.limit);

  const auto predictions_of = [&](const Model& m) {
    Progress progress(global.quiet);
    return predict(m, paths_of(samples), preprocess,
                   {.batch = options.batch,
                    .threads = global.threads,
                    .top = other ? model.classes : 5,
                    .progress = [&](double done) { progress.update("eval", done); },
                    .kernels = global.kernels});
  };
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Prediction> predictions = predictions_of(model);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const Accuracy result = accuracy(predictions, samples);

  json skipped = json::array();
  for (const Prediction& p : report_skipped(predictions, options.data))
    skipped.push_back({{"image", p.path}, {"error", p.error}});
  if (!global.quiet)
    std::printf("%s, %s: top-1 %.4f, top-5 %.4f over %d images (%zu skipped), %.1f s, %.1f images/s\n",
                model.arch.name.c_str(), model.engine(), result.top1, result.top5, result.images,
                skipped.size(), seconds, result.images / seconds);
  json report{{"arch", model.arch.name},
              {"engine", model.engine()},
              {"images", result.images},
              {"top1", result.top1},
              {"top5", result.top5},
              {"seconds", seconds},
              {"images_per_second", result.images / seconds},
              {"threads", global.threads},
              {"skipped", skipped}};
  report_islands(global, model, report);
  if (other) {
    const std::vector<Prediction> reference = predictions_of(*other);
    const double agreed = agreement(best_classes(predictions), best_classes(reference)),
                 divergence = mean_divergence(reference, predictions);
    if (!global.quiet)
      std::printf("against %s: agreement %.4f, divergence %.5f nats\n", options.against.c_str(), agreed,
                  divergence);
    report["against"] = {{"model", options.against}, {"agreement", agreed}, {"divergence", divergence}};
  }
  write_json(global, report);
}

}  // namespace

void add_eval(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("eval", "Accuracy over labelled images, DIR/<class>/*");
  command->add_option("model", options->model, "Checkpoint or quantised model")
      ->required()
      ->option_text("MODEL");
  command->add_option("--data", options->data, "Folder with one folder for each class, or synthetic images")
      ->required()
      ->option_text("DIR or synthetic:SPLIT[:COUNT]");
  command
      ->add_option(
          "--against", options->against,
          "Also compare the answers with those of this model, to images prepared alike: the share of "
          "equal ones, and the mean divergence KL(its || MODEL's)")
      ->option_text("MODEL");
  command->add_option("--limit", options->limit, "At most this many images, spread evenly over all")
      ->check(CLI::PositiveNumber);
  command->add_option("--batch", options->batch, "Images that one thread takes at a time (default 1)")
      ->check(CLI::Range(1, 1024));
  add_image_options(*command, options->image);
  command->callback([options, &global] { eval(*options, global); });
}

}  // namespace qhv
