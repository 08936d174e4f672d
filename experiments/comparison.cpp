#include "experiments/comparison.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <unistd.h>

#include "experiments/evaluate.h"
#include "experiments/progress.h"
#include "experiments/timing.h"
#include "models/generated.h"
#include "tensor/file.h"

namespace qhv {
namespace {

constexpr int kLatencyRuns = 10;

/// A model of the comparison with its images.
struct Subject {
  Model model;
  Preprocess preprocess;
  std::vector<Sample> samples;
};

/// Median milliseconds of a pass of one image on this thread.
double latency_ms(const Model& model) {
  const RunHooks hooks = model_hooks(model);
  const Tensor image = generate_input(1, 3, model.res, model.res);
  return time_in_turn({[&] { run(model.graph, image, hooks); }}, kLatencyRuns)[0].median();
}

/// Bytes of the file that `quantize` would write.
std::int64_t quantized_bytes(const Model& model, const std::string& out) {
  const std::string temporary = concat(out, ".model-", ::getpid());
  save_quantized(temporary, model);
  const auto bytes = std::int64_t(std::filesystem::file_size(temporary));
  std::filesystem::remove(temporary);
  return bytes;
}

class Comparison {
 public:
  Comparison(const ComparisonOptions& options, const GlobalOptions& global)
      : options_(options), global_(global) {
    require_writable(options.out);
    rows_ = read_table(options.out);
    for (const TableKey& key : options.rows)
      if (!subjects_.contains(key.model)) subjects_.emplace(key.model, load(key.model));
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
        std::fprintf(stderr, "%s %s by %s, W%dA%d: top-1 %.4f%s\n", position.c_str(), key.model.c_str(),
                     key.method.c_str(), key.wbits, key.abits, chosen.back().top1,
                     known ? ", from the file" : "");
    }
    return chosen;
  }

 private:
  Subject load(const std::string& path) const {
    Model model = load_float_model(path, options_.image.res, global_);
    const Preprocess preprocess = resolve_preprocess(options_.image, model, path);
    std::vector<Sample> samples = labelled_samples(options_.data, model.classes, options_.limit);
    return {std::move(model), preprocess, std::move(samples)};
  }

  TableRow compute(const TableKey& key, const std::string& position) {
    const Subject& subject = subjects_.at(key.model);
    Progress progress(global_.quiet);
    const auto report = [&](const char* stage, double done) {
      progress.update(concat(position, " ", stage), done);
    };
    TableRow row;
    row.key = key;
    row.arch = subject.model.arch.name;
    if (key.method == kFloatMethod) {
      row.bytes = std::int64_t(std::filesystem::file_size(key.model));
      measure(row, subject.model, subject, report);
      row.fp32_top1 = row.top1;
      return row;
    }
    QuantizeOptions how = options_.calibration;
    how.method = key.method;
    how.wbits = key.wbits;
    how.abits = key.abits;
    const auto start = std::chrono::steady_clock::now();
    const std::vector<Tensor> images = calibration_images(how, subject.preprocess, global_);
    Calibration calibration = calibration_of(how, images, global_);
    calibration.progress = report;
    const Model quantized = quantize_model(subject.model, subject.preprocess, key.method, calibration);
    row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    row.bytes = quantized_bytes(quantized, options_.out);
    measure(row, quantized, subject, report);
    row.fp32_top1 = find_row(rows_, {key.model, kFloatMethod})->top1;
    return row;
  }

  void measure(TableRow& row, const Model& model, const Subject& subject,
               const std::function<void(const char*, double)>& report) {
    row.engine = model.engine();
    row.latency_ms = latency_ms(model);
    const std::vector<Prediction> predictions = predict(
        model, paths_of(subject.samples), subject.preprocess,
        {.batch = 1, .threads = global_.threads, .top = 5, .progress = [&](double d) { report("eval", d); }});
    if (!skips_reported_) report_skipped(predictions, options_.data);
    skips_reported_ = true;  // every row sees the same images
    const Accuracy result = accuracy(predictions, subject.samples);
    row.top1 = result.top1;
    row.top5 = result.top5;
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
