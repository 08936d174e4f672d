#include "experiments/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/evaluate.h"
#include "experiments/options.h"
#include "models/mobilevit.h"
#include "nn/init.h"
#include "nn/passes.h"
#include "nn/training_file.h"
#include "tensor/file.h"
#include "tensor/rng.h"

namespace qhv {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

/// All that decides the bits of the result, and how far the run has come.
json description(const TrainOptions& o, std::size_t images) {
  return {{"arch", o.arch.name},
          {"classes", o.classes},
          {"images", images},
          {"preprocess", json::parse(preprocess_to_json(o.preprocess))},
          {"augment",
           {o.augment.min_area, o.augment.max_area, o.augment.min_ratio, o.augment.max_ratio,
            double(o.augment.flip)}},
          {"optimizer",
           {double(o.optimizer.kind), o.optimizer.momentum, o.optimizer.beta1, o.optimizer.beta2,
            o.optimizer.eps, o.optimizer.weight_decay}},
          {"lr", {o.lr, o.final_lr_fraction, o.warmup_epochs}},
          {"label_smoothing", o.label_smoothing},
          {"clip_norm", o.clip_norm},
          {"ema_decay", o.ema_decay},
          {"epochs", o.epochs},
          {"batch", {o.batch, o.shard}},
          {"report_steps", o.report_steps},
          {"seed", o.seed}};
}

json curve_to_json(std::span<const CurvePoint> points) {
  json rows = json::array();
  const auto optional = [](const std::optional<double>& v) { return v ? json(*v) : json(); };
  for (const CurvePoint& p : points)
    rows.push_back({p.epoch, p.step, p.lr, p.train_loss, optional(p.train_top1), optional(p.val_loss),
                    optional(p.val_top1)});
  return rows;
}

std::vector<CurvePoint> curve_from_json(const json& rows) {
  std::vector<CurvePoint> points;
  const auto optional = [](const json& v) {
    return v.is_null() ? std::nullopt : std::optional(v.get<double>());
  };
  for (const json& row : rows)
    points.push_back({row.at(0), row.at(1), row.at(2), row.at(3), optional(row.at(4)), optional(row.at(5)),
                      optional(row.at(6))});
  return points;
}

/// Which sample comes when, and how it is augmented.
class Order {
 public:
  Order(std::size_t count, std::uint64_t seed) : count_(count), seed_(random_bits(seed, seed_of("train"))) {}

  /// The sample at `position` of an epoch: of a shuffle of all.
  std::size_t sample(std::int64_t epoch, std::size_t position) {
    if (epoch != epoch_) shuffle(epoch);
    return shuffled_[position];
  }
  std::uint64_t augment_seed(std::int64_t epoch, std::size_t sample) const {
    return random_bits(random_bits(~seed_, std::uint64_t(epoch)), sample);
  }

 private:
  void shuffle(std::int64_t epoch) {
    epoch_ = epoch;
    shuffled_.resize(count_);
    for (std::size_t i = 0; i < count_; ++i) shuffled_[i] = std::uint32_t(i);
    const std::uint64_t seed = random_bits(seed_, std::uint64_t(epoch));
    for (std::size_t i = 0; i + 1 < count_; ++i)
      std::swap(shuffled_[i], shuffled_[i + random_below(seed, i, std::uint32_t(count_ - i))]);
  }

  std::size_t count_;
  std::uint64_t seed_;
  std::int64_t epoch_ = -1;
  std::vector<std::uint32_t> shuffled_;
};

struct Validation {
  double loss = 0, top1 = 0;
};

Validation validate(const Model& model, const TrainOptions& options, const std::vector<Sample>& samples,
                    const std::function<void(double)>& progress) {
  std::vector<std::string> paths;
  for (const Sample& sample : samples) paths.push_back(sample.path);
  const std::vector<Prediction> predictions =
      predict(model, paths, options.preprocess,
              {.batch = 1, .threads = options.threads, .top = options.classes, .progress = progress});
  Validation result;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const Prediction& p = predictions[i];
    if (!p.error.empty()) throw std::runtime_error(p.error);
    const auto at = std::find(p.classes.begin(), p.classes.end(), samples[i].label) - p.classes.begin();
    result.loss -= std::log(std::max(p.probabilities[std::size_t(at)], 1e-30)) / double(samples.size());
  }
  result.top1 = accuracy(predictions, samples).top1;
  return result;
}

class Trainer {
 public:
  Trainer(const TrainOptions& options, const std::vector<Sample>& samples,
          const std::vector<Sample>& validation, const std::string& out, const TrainCallbacks& callbacks)
      : options_(options),
        samples_(samples),
        validation_(validation),
        out_(out),
        callbacks_(callbacks),
        order_(samples.size(), options.seed),
        steps_per_epoch_(std::int64_t(samples.size()) / options.batch),
        total_(steps_per_epoch_ * options.epochs),
        report_steps_(options.report_steps > 0 ? options.report_steps : steps_per_epoch_) {
    require(steps_per_epoch_ > 0, "train", samples.size(), " images are fewer than a batch of ",
            options.batch);
    require(options.batch % options.shard == 0, "train", "a batch of ", options.batch,
            " is not a multiple of its shards of ", options.shard);
    Graph graph = build_mobilevit(options.arch, options.classes, options.preprocess.res);
    initialize(graph, options.seed);
    state_ = begin_training(std::move(graph), options.optimizer, options.ema_decay > 0);
  }

  std::vector<CurvePoint> run(bool resume) {
    if (resume) load();
    const std::int64_t stop =
        options_.stop_after > 0 ? std::min(total_, step() + options_.stop_after) : total_;
    Clock::time_point start = Clock::now();
    double loss = 0, gradient_norm = 0;
    std::int64_t correct = 0, images = 0, since = step();
    while (step() < stop) {
      const StepResult result = take_step();
      loss += result.loss * result.images;
      gradient_norm += result.gradient_norm;
      correct += result.correct;
      images += result.images;
      const bool reports = step() % report_steps_ == 0 || step() == stop;
      if (callbacks_.progress) {
        const std::int64_t next =
            std::min(stop, (step() + report_steps_ - 1) / report_steps_ * report_steps_);
        callbacks_.progress(concat("train to step ", next), double(step() - since) / double(next - since));
      }
      if (!reports) continue;
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      curve_.push_back({double(step()) / double(steps_per_epoch_), step(), rate(step() - 1),
                        loss / double(images), double(correct) / double(images), std::nullopt, std::nullopt});
      const double steps = double(step() - since);
      report(gradient_norm / steps, double(options_.batch) * steps / seconds);
      loss = gradient_norm = 0;
      correct = images = 0;
      since = step();
      start = Clock::now();
    }
    return curve_;
  }

 private:
  std::int64_t step() const { return state_.optimizer.step; }
  std::string training_file() const { return out_ + ".training"; }

  double rate(std::int64_t step) const {
    const auto warmup = std::int64_t(std::llround(options_.warmup_epochs * double(steps_per_epoch_)));
    return cosine_schedule(step, total_, std::min(warmup, total_), options_.lr, options_.final_lr_fraction);
  }

  StepResult take_step() {
    const std::int64_t epoch = step() / steps_per_epoch_;
    const std::size_t first = std::size_t(step() % steps_per_epoch_) * std::size_t(options_.batch);
    std::vector<std::size_t> chosen;
    for (int i = 0; i < options_.batch; ++i) chosen.push_back(order_.sample(epoch, first + std::size_t(i)));
    const auto load = [&](int shard) {
      return load_shard(
          std::span(chosen).subspan(std::size_t(shard * options_.shard), std::size_t(options_.shard)), epoch);
    };
    try {
      return training_step(state_, options_.batch / options_.shard, load,
                           {.lr = rate(step()),
                            .label_smoothing = options_.label_smoothing,
                            .clip_norm = options_.clip_norm,
                            .ema_decay = options_.ema_decay,
                            .recompute = options_.recompute,
                            .threads = options_.threads});
    } catch (const DivergedError& error) {
      file_error("train", error.what(), " at step ", step() + 1, ", learning rate ", rate(step()), "; ",
                 curve_.empty()
                     ? "there is no checkpoint yet"
                     : concat("the last good checkpoint is ", out_, " of step ", curve_.back().step));
    }
  }

  Batch load_shard(std::span<const std::size_t> chosen, std::int64_t epoch) const {
    std::vector<Tensor> images;
    Batch batch;
    for (const std::size_t i : chosen) {
      images.push_back(augment(load_image(samples_[i].path), options_.preprocess, options_.augment,
                               order_.augment_seed(epoch, i)));
      batch.labels.push_back(samples_[i].label);
    }
    std::vector<const Tensor*> parts;
    for (const Tensor& image : images) parts.push_back(&image);
    batch.images = concat_axis(parts, 0);
    return batch;
  }

  /// Validates, then writes the files; what is needed to resume comes first.
  void report(double gradient_norm, double images_per_second) {
    const Graph averaged = averaged_graph(state_);
    const Model model{options_.arch,
                      options_.classes,
                      options_.preprocess.res,
                      parameter_count(averaged),
                      fold_batch_norm(averaged),
                      std::nullopt,
                      preprocess_to_json(options_.preprocess),
                      options_.labels};
    if (!validation_.empty()) {
      const Validation v = validate(model, options_, validation_, [&](double done) {
        if (callbacks_.progress) callbacks_.progress(concat("validate step ", step()), done);
      });
      curve_.back().val_loss = v.loss;
      curve_.back().val_top1 = v.top1;
    }
    save_training(
        training_file(), state_,
        json{{"run", description(options_, samples_.size())}, {"curve", curve_to_json(curve_)}}.dump());
    save_checkpoint(out_, model, averaged);
    write_curve_csv(out_ + ".csv", curve_);
    write_curve_svg(out_ + ".svg", concat(options_.arch.name, ": training from scratch"), curve_);
    if (callbacks_.report) callbacks_.report({curve_.back(), total_, gradient_norm, images_per_second});
  }

  void load() {
    load_training(training_file(), state_, [&](const std::string& text) { accept(text); });
    if (step() > total_) file_error(training_file(), "is at step ", step(), " of ", total_);
  }

  /// Takes over the curve of a run with the same options.
  void accept(const std::string& text) try {
    const json saved = json::parse(text), run = description(options_, samples_.size());
    for (const auto& [key, value] : run.items())
      if (saved.at("run").at(key) != value)
        file_error(training_file(), "is of a run with ", key, " ", saved.at("run").at(key).dump(),
                   ", this one has ", value.dump());
    curve_ = curve_from_json(saved.at("curve"));
  } catch (const json::exception& error) {
    file_error(training_file(), "malformed metadata (", error.what(), ")");
  }

  const TrainOptions& options_;
  const std::vector<Sample>&samples_, &validation_;
  const std::string out_;
  const TrainCallbacks& callbacks_;
  Order order_;
  std::int64_t steps_per_epoch_, total_, report_steps_;
  TrainingState state_;
  std::vector<CurvePoint> curve_;
};

}  // namespace

std::vector<CurvePoint> train(const TrainOptions& options, const std::vector<Sample>& samples,
                              const std::vector<Sample>& validation, const std::string& out, bool resume,
                              const TrainCallbacks& callbacks) {
  return Trainer(options, samples, validation, out, callbacks).run(resume);
}

}  // namespace qhv
