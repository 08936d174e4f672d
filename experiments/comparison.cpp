#include "experiments/comparison.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <unistd.h>

#include "experiments/evaluate.h"
#include "experiments/progress.h"
#include "experiments/reconstruction_choice.h"
#include "experiments/timing.h"
#include "models/generated.h"
#include "models/runner.h"
#include "tensor/file.h"

namespace qhv {
namespace {

constexpr int kLatencyRuns = 10;

/// A model of the comparison with its images.
struct Subject {
  Model model;
  Preprocess preprocess;
  std::vector<Sample> samples;
  std::vector<int> float_classes = {};  // best_classes of the float network, once something needs them
};

/// Median milliseconds of a pass of one image on this thread.
double latency_ms(const Model& model, const std::string& kernels) {
  Runner runner(model, 1, 1, 1, kernels);
  const Tensor image = generate_input(1, 3, model.res, model.res);
  return time_in_turn({[&] { runner.run(image); }}, kLatencyRuns)[0].median();
}

bool is_float(const TableKey& key) { return key.method == kFloatMethod; }

/// By METHOD+KIND, or by the best recipe's name.
bool is_reconstructed(const TableKey& key) { return key.method.find('+') != std::string::npos; }

/// Bytes of the file that `quantize` would write.
std::int64_t quantized_bytes(const Model& model, const std::string& out) {
  const std::string temporary = concat(out, ".model-", ::getpid());
  save_quantized(temporary, model);
  const auto bytes = std::int64_t(std::filesystem::file_size(temporary));
  std::filesystem::remove(temporary);
  return bytes;
}

std::string settings_text(const TableKey& key, const ComparisonOptions& options, const Subject& subject,
                          const GlobalOptions& global) {
  const QuantizeOptions& how = options.calibration;
  std::string text;
  if (!is_float(key))
    text = concat("calib=", how.calib, ":", how.images,
                  " signal=", how.signal ? signal_name(*how.signal) : "default",
                  " search=", flavour_name(how.flavour), " ");
  if (!is_float(key) && how.ends_bits) text += concat("ends=", *how.ends_bits, " ");
  if (!is_float(key) && in_integers(global)) text += "engine=int8 ";
  if (is_reconstructed(key)) text += concat("learn=", how.reconstruction_images, "x", how.iterations, " ");
  return text +
         concat("data=", options.data, ":", subject.samples.size(), " ", preprocess_text(subject.preprocess));
}

class Comparison {
 public:
  Comparison(const ComparisonOptions& options, const GlobalOptions& global)
      : options_(options), global_(global) {
    require_writable(options.out);
    rows_ = read_table(options.out);
    for (const TableKey& key : options.rows)
      if (!subjects_.contains(key.model)) subjects_.emplace(key.model, load(key.model));
    for (const TableKey& key : options.rows) check_settings(key);
    require_images();
  }

  std::vector<TableRow> run() {
    std::vector<TableRow> chosen;
    for (std::size_t i = 0; i < options_.rows.size(); ++i) {
      const TableKey& key = options_.rows[i];
      const std::string position = concat(i + 1, "/", options_.rows.size());
      const bool known = find_row(rows_, key);
      if (!known) {
        rows_.push_back(compute(key, position));
        write_table(options_.out, rows_);
      }
      chosen.push_back(*find_row(rows_, key));
      if (!global_.quiet)
        std::fprintf(stderr, "%s %s by %s, W%dA%d%s, seed %llu: top-1 %.4f%s\n", position.c_str(),
                     key.model.c_str(), key.method.c_str(), key.wbits, key.abits, key.full ? " full" : "",
                     static_cast<unsigned long long>(key.seed), chosen.back().top1,
                     known ? ", from the file" : "");
    }
    return chosen;
  }

 private:
  Subject load(const std::string& path) const {
    Model model = load_float_model(path, options_.image.res);
    const Preprocess preprocess = resolve_preprocess(options_.image, model, path);
    std::vector<Sample> samples = labelled_samples(options_.data, model.classes, options_.limit);
    return {std::move(model), preprocess, std::move(samples)};
  }

  void check_settings(const TableKey& key) const {
    const TableRow* row = find_row(rows_, key);
    if (!row) return;
    const std::string settings = settings_text(key, options_, subjects_.at(key.model), global_);
    if (row->settings != settings)
      file_error(options_.out, "line ", line_number(rows_, *row), ": was measured with \"", row->settings,
                 "\", not \"", settings, "\"; other settings need another file");
  }

  using Report = std::function<void(const char* stage, double done)>;

  TableRow compute(const TableKey& key, const std::string& position) {
    Subject& subject = subjects_.at(key.model);
    Progress progress(global_.quiet);
    const Report report = [&](const char* stage, double done) {
      progress.update(concat(position, " ", stage), done);
    };
    TableRow row;
    row.key = key;
    row.arch = subject.model.arch.name;
    row.settings = settings_text(key, options_, subject, global_);
    if (key.method == kFloatMethod) {
      row.bytes = std::int64_t(std::filesystem::file_size(key.model));
      measure(row, subject.model, subject, report);
      row.fp32_top1 = row.top1;
      return row;
    }
    const auto start = std::chrono::steady_clock::now();
    Model quantized = quantized_by(key, subject, report);
    quantized.in_integers = in_integers(global_);
    row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    row.bytes = quantized_bytes(quantized, options_.out);
    measure(row, quantized, subject, report);
    row.fp32_top1 = find_row(rows_, {key.model, kFloatMethod})->top1;
    return row;
  }

  /// Throws if there are too few for a row.
  void require_images() const {
    const QuantizeOptions& how = options_.calibration;
    const auto seed = std::uint64_t(global_.seed);
    if (!std::ranges::all_of(options_.rows, is_float)) draw_images(how.calib, how.images, "--images", seed);
    if (std::ranges::any_of(options_.rows, is_reconstructed))
      draw_images(how.calib, how.reconstruction_images, "--reconstruct-images", seed);
  }

  Model quantized_by(const TableKey& key, const Subject& subject, const Report& report) const {
    const Recipe recipe = parse_recipe(key.method, "--methods");
    QuantizeOptions how = options_.calibration;
    how.method = recipe.method;
    how.reconstruction = recipe.reconstruction;
    how.wbits = key.wbits;
    how.abits = key.abits;
    how.full = key.full;
    GlobalOptions global = global_;
    global.seed = key.seed;
    const std::vector<Tensor> images = calibration_images(how, subject.preprocess, global);
    Calibration calibration = calibration_of(how, subject.model.graph, images, global);
    calibration.progress = report;
    Model model = quantize_model(subject.model, subject.preprocess, how.method, calibration);
    reconstruct_model(model, subject.model, how, reconstruction_images(how, subject.preprocess, global),
                      global, report, {});
    return model;
  }

  void measure(TableRow& row, const Model& model, Subject& subject, const Report& report) {
    row.engine = model.engine();
    row.latency_ms = latency_ms(model, global_.kernels);
    const std::vector<Prediction> predictions = predictions_of(model, subject, "eval", report);
    if (!skips_reported_) report_skipped(predictions, options_.data);
    skips_reported_ = true;  // every row sees the same images
    const Accuracy result = accuracy(predictions, subject.samples);
    row.top1 = result.top1;
    row.top5 = result.top5;
    const std::vector<int> classes = best_classes(predictions);
    if (!model.plan)
      subject.float_classes = classes;
    else if (subject.float_classes.empty())  // the float row was in the file
      subject.float_classes =
          best_classes(predictions_of(subject.model, subject, "eval of the float network", report));
    row.agreement = agreement(classes, subject.float_classes);
  }

  std::vector<Prediction> predictions_of(const Model& model, const Subject& subject, const char* stage,
                                         const Report& report) const {
    return predict(model, paths_of(subject.samples), subject.preprocess,
                   {.batch = 1,
                    .threads = global_.threads,
                    .top = 5,
                    .progress = [&](double d) { report(stage, d); },
                    .kernels = global_.kernels});
  }

  const ComparisonOptions& options_;
  const GlobalOptions& global_;
  std::vector<TableRow> rows_;  // of the file
  std::map<std::string, Subject> subjects_;
  bool skips_reported_ = false;
};

}  // namespace

std::vector<TableRow> compare(const ComparisonOptions& options, const GlobalOptions& global) {
  return Comparison(options, global).run();
}

}  // namespace qhv
