// train: an architecture from scratch, on a folder of labelled images or on the synthetic set.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "experiments/commands.h"
#include "experiments/gnuplot.h"
#include "experiments/progress.h"
#include "experiments/trainer.h"
#include "tensor/file.h"

namespace qhv {
namespace {

using nlohmann::json;

struct Options {
  std::string arch, data, val, out, optimizer = "adamw";
  TrainOptions train;
  std::optional<double> weight_decay;
  std::vector<double> crop_area{0.35, 1}, crop_ratio{3.0 / 4, 4.0 / 3};
  bool no_flip = false, resume = false;
  ImageOptions image;
};

OptimizerKind optimizer_kind(const std::string& name) {
  if (name == "sgd") return OptimizerKind::kSgd;
  return name == "adam" ? OptimizerKind::kAdam : OptimizerKind::kAdamW;
}

/// Every class must have images: a class without any would be trained to be impossible.
Dataset open_training_data(const std::string& spec) {
  Dataset dataset = open_dataset(spec);
  if (!dataset.empty_classes.empty())
    file_error(
        spec, "class ", dataset.empty_classes.front(), " has no images",
        dataset.empty_classes.size() > 1 ? concat(" (one of ", dataset.empty_classes.size(), " such)") : "");
  return dataset;
}

TrainOptions resolve(const Options& options, const GlobalOptions& global, const Dataset& data) {
  TrainOptions train = options.train;
  train.arch = *find_arch(options.arch);
  train.classes = data.label_count;
  if (int(data.classes.size()) == data.label_count) train.labels = data.classes;
  Model untrained;
  untrained.arch = train.arch;
  untrained.res = options.image.res.value_or(256);
  train.preprocess = resolve_preprocess(options.image, untrained, options.arch);
  train.augment = {options.crop_area[0], options.crop_area[1], options.crop_ratio[0], options.crop_ratio[1],
                   !options.no_flip};
  train.optimizer.kind = optimizer_kind(options.optimizer);
  const bool adam = train.optimizer.kind == OptimizerKind::kAdam;
  train.optimizer.weight_decay = options.weight_decay.value_or(adam ? 0 : train.optimizer.weight_decay);
  if (adam && train.optimizer.weight_decay != 0)
    throw CLI::ValidationError("--weight-decay", "adam has none; adamw is the one that decays");
  train.seed = global.seed;
  train.threads = global.threads;
  if (train.batch % train.shard != 0) throw CLI::ValidationError("--batch", "is not a multiple of --shard");
  return train;
}

void check_files(const Options& options) {
  const std::string training = options.out + ".training";
  if (options.resume && !std::filesystem::exists(training))
    file_error(training, "there is nothing to resume");
  if (!options.resume && std::filesystem::exists(training))
    file_error(training, "is of an earlier run; --resume goes on with it, or remove it");
  for (const char* suffix : {"", ".training", ".csv", ".svg"}) require_writable(options.out + suffix);
  require_gnuplot();
}

void print_report(const TrainReport& report) {
  const CurvePoint& p = report.point;
  std::printf("step %lld of %lld, epoch %.2f: lr %.2e, loss %.4f, top-1 %.4f", static_cast<long long>(p.step),
              static_cast<long long>(report.total_steps), p.epoch, p.lr, p.train_loss,
              p.train_top1.value_or(0));
  if (p.val_loss) std::printf("; validation loss %.4f, top-1 %.4f", *p.val_loss, *p.val_top1);
  std::printf("; gradient norm %.2f, %.1f images/s\n", report.gradient_norm, report.images_per_second);
  std::fflush(stdout);
}

void train(const Options& options, const GlobalOptions& global) {
  const auto start = std::chrono::steady_clock::now();
  const Dataset data = open_training_data(options.data);
  std::vector<Sample> validation;
  if (!options.val.empty()) {
    Dataset val = open_dataset(options.val);
    check_labels(val, data.label_count, options.val);
    validation = std::move(val.samples);
  }
  const TrainOptions resolved = resolve(options, global, data);
  check_files(options);

  std::vector<CurvePoint> curve;
  {
    Progress progress(global.quiet);
    curve =
        qhv::train(resolved, data.samples, validation, options.out, options.resume,
                   {.progress = [&](const std::string& stage, double done) { progress.update(stage, done); },
                    .report =
                        [&](const TrainReport& r) {
                          if (!global.quiet) print_report(r);
                        }});
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const CurvePoint& last = curve.back();
  const auto number = [](const std::optional<double>& v) { return v ? json(*v) : json(); };
  if (!global.quiet) std::printf("%s: %.0f s; %s\n", options.arch.c_str(), seconds, options.out.c_str());
  write_json(global, {{"arch", options.arch},
                      {"classes", data.label_count},
                      {"epochs", last.epoch},
                      {"steps", last.step},
                      {"loss", last.train_loss},
                      {"train_top1", number(last.train_top1)},
                      {"val_loss", number(last.val_loss)},
                      {"top1", number(last.val_top1)},
                      {"seconds", seconds},
                      {"out", options.out}});
}

void add_schedule_options(CLI::App& command, TrainOptions& train, Options& options) {
  command.add_option("--epochs", train.epochs, "Passes over the images (default 1)")
      ->check(CLI::Range(1, 1000000));
  command.add_option("--batch", train.batch, "Images in a step (default 128)")->check(CLI::Range(1, 65536));
  command
      .add_option(
          "--shard", train.shard,
          "Images of a batch that one thread takes, with BatchNorm statistics of their own (default 16)")
      ->check(CLI::Range(1, 65536));
  command
      .add_option("--report", train.report_steps,
                  "Steps between validations and checkpoints (default: an epoch)")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--stop-after", train.stop_after,
                  "Stop after so many steps, to be resumed (default: at the end)")
      ->check(CLI::PositiveNumber);
  command.add_option("--optimizer", options.optimizer, "adamw (default), adam or sgd")
      ->check(CLI::IsMember({"adamw", "adam", "sgd"}));
  command.add_option("--lr", train.lr, "Largest learning rate (default 0.001)")->check(CLI::PositiveNumber);
  command
      .add_option("--warmup", train.warmup_epochs, "Epochs in which it rises; then it falls as half a cosine")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option("--final-lr", train.final_lr_fraction,
                  "The last learning rate, as a fraction (default 0.01)")
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--weight-decay", options.weight_decay, "Of weights, not of vectors (default 0.01)")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--momentum", train.optimizer.momentum, "Of sgd (default 0.9)")
      ->check(CLI::Range(0.0, 0.9999));
  command.add_option("--clip", train.clip_norm, "Largest norm of the gradients, 0 for none (default 1)")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--label-smoothing", train.label_smoothing, "Default 0.1")->check(CLI::Range(0.0, 0.99));
  command
      .add_option("--ema", train.ema_decay, "Decay of the average that is saved, 0 for none (default 0.999)")
      ->check(CLI::Range(0.0, 0.999999));
  command.add_flag("--recompute", train.recompute,
                   "Less memory: compute each block again in the backward pass");
}

}  // namespace

void add_train(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("train", "Training from scratch");
  std::vector<std::string> names;
  for (const Arch& arch : known_archs()) names.push_back(arch.name);
  command->add_option("--arch", options->arch, "Architecture")->required()->check(CLI::IsMember(names));
  command
      ->add_option("--data", options->data,
                   "Folder with one folder for each class, or synthetic:SPLIT[:COUNT]")
      ->required()
      ->option_text("DIR");
  command->add_option("--val", options->val, "The same, for validation")->option_text("DIR");
  command
      ->add_option("--out", options->out,
                   "The checkpoint; beside it FILE.training (to resume), FILE.csv, FILE.svg")
      ->required()
      ->option_text("FILE");
  command->add_flag("--resume", options->resume, "Go on from FILE.training");
  command->add_option("--crop-area", options->crop_area, "Random crops: share of the area (default 0.35 1)")
      ->expected(2);
  command->add_option("--crop-ratio", options->crop_ratio, "Their width / height (default 0.75 1.3333)")
      ->expected(2);
  command->add_flag("--no-flip", options->no_flip, "No mirrored images");
  add_schedule_options(*command, options->train, *options);
  add_image_options(*command, options->image);
  command->callback([options, &global] { train(*options, global); });
}

}  // namespace qhv
