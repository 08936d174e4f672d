#include "experiments/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <mutex>

#include "models/runner.h"
#include "tensor/parallel.h"
#include "tensor/thread_pool.h"

namespace qhv {
namespace {

/// Softmax of one row in double, for the classes asked for.
std::vector<double> probabilities(std::span<const real> logits, const std::vector<int>& classes) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const real v : logits) sum += std::exp(v - largest);
  std::vector<double> result;
  for (const int c : classes) result.push_back(std::exp(logits[std::size_t(c)] - largest) / sum);
  return result;
}

/// Loads and prepares one image, to planes [3, res, res]. Whatever is wrong with it is a std::runtime_error
/// that begins with its path.
void read_image(const std::string& path, const Preprocess& options, real* planes) {
  const Image image = load_image(path);
  try {
    preprocess(image, options, planes);
  } catch (const std::invalid_argument& error) {
    file_error(path, error.what());
  }
}

/// The readable images of a batch as one tensor; the predictions of the others get their error.
Tensor read_batch(std::span<Prediction> batch, const Preprocess& options,
                  std::vector<Prediction*>& readable) {
  Tensor images = Tensor::uninitialized({std::ssize(batch), 3, options.res, options.res});
  const std::int64_t size = inner_count(images.shape(), 0);
  for (Prediction& p : batch) try {
      read_image(p.path, options, images.data() + std::ssize(readable) * size);
      readable.push_back(&p);
    } catch (const std::runtime_error& error) {
      p.error = error.what();
    }
  return readable.size() == batch.size() ? std::move(images) : slice(images, 0, 0, std::ssize(readable));
}

}  // namespace

std::vector<Sample> labelled_samples(const std::string& data, int classes, int limit) {
  Dataset dataset = open_dataset(data);
  check_labels(dataset, classes, data);
  const std::size_t count = dataset.samples.size(), wanted = std::size_t(limit);
  if (limit == 0 || wanted >= count) return std::move(dataset.samples);
  std::vector<Sample> kept;
  for (std::size_t i = 0; i < wanted; ++i) kept.push_back(dataset.samples[i * count / wanted]);
  return kept;
}

std::vector<std::string> paths_of(const std::vector<Sample>& samples) {
  std::vector<std::string> paths;
  for (const Sample& sample : samples) paths.push_back(sample.path);
  return paths;
}

std::vector<Prediction> predict(const Model& model, const std::vector<std::string>& paths,
                                const Preprocess& preprocess, const EvaluateOptions& options) {
  std::vector<Prediction> predictions(paths.size());
  for (std::size_t i = 0; i < paths.size(); ++i) predictions[i].path = paths[i];
  const std::int64_t count = std::int64_t(paths.size()),
                     batches = (count + options.batch - 1) / options.batch;
  const int threads = int(std::clamp<std::int64_t>(batches, 1, options.threads));
  ThreadPool pool(threads);
  Runner runner(model, options.batch, threads, 1, options.kernels);
  std::mutex mutex;
  std::int64_t done = 0;
  pool.run(batches, [&](std::int64_t index, int thread) {
    const std::int64_t first = index * options.batch,
                       size = std::min<std::int64_t>(options.batch, count - first);
    std::vector<Prediction*> readable;
    const Tensor images = read_batch(std::span(predictions).subspan(std::size_t(first), std::size_t(size)),
                                     preprocess, readable);
    if (!readable.empty()) {
      const Tensor logits = runner.run(images, thread);
      const auto best = top_k(logits, std::min(options.top, model.classes));
      for (std::size_t i = 0; i < readable.size(); ++i) {
        readable[i]->classes = best[i];
        const auto row = logits.values().subspan(i * std::size_t(model.classes), std::size_t(model.classes));
        readable[i]->probabilities = probabilities(row, best[i]);
      }
    }
    const std::lock_guard lock(mutex);
    done += size;
    if (options.progress) options.progress(double(done) / double(count));
  });
  return predictions;
}

std::vector<Tensor> load_images(const std::vector<std::string>& paths, const Preprocess& options,
                                int threads) {
  std::vector<Tensor> images(paths.size());
  parallel_for(std::int64_t(paths.size()), threads, [&](std::int64_t i) {
    Tensor& image = images[std::size_t(i)] = Tensor::uninitialized({1, 3, options.res, options.res});
    read_image(paths[std::size_t(i)], options, image.data());
  });
  return images;
}

Accuracy accuracy(const std::vector<Prediction>& predictions, const std::vector<Sample>& samples) {
  assert(predictions.size() == samples.size());
  Accuracy a;
  int first = 0, among_five = 0;
  for (std::size_t i = 0; i < predictions.size(); ++i) {
    const std::vector<int>& classes = predictions[i].classes;
    if (classes.empty()) continue;
    ++a.images;
    const auto at =
        std::find(classes.begin(), classes.begin() + std::min<std::ptrdiff_t>(5, std::ssize(classes)),
                  samples[i].label);
    first += at == classes.begin();
    among_five += at != classes.begin() + std::min<std::ptrdiff_t>(5, std::ssize(classes));
  }
  if (a.images) {
    a.top1 = double(first) / a.images;
    a.top5 = double(among_five) / a.images;
  }
  return a;
}

std::vector<int> best_classes(const std::vector<Prediction>& predictions) {
  std::vector<int> classes;
  for (const Prediction& p : predictions) classes.push_back(p.classes.empty() ? -1 : p.classes.front());
  return classes;
}

double agreement(const std::vector<int>& classes, const std::vector<int>& others) {
  assert(classes.size() == others.size());
  int read = 0, equal = 0;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    if (classes[i] < 0 || others[i] < 0) continue;
    ++read;
    equal += classes[i] == others[i];
  }
  return read ? double(equal) / read : 0;
}

double mean_divergence(const std::vector<Prediction>& reference, const std::vector<Prediction>& predictions) {
  assert(reference.size() == predictions.size());
  constexpr double kLeast = 1e-30;  // a probability that is 0 in float
  int read = 0;
  double sum = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const Prediction &p = reference[i], &q = predictions[i];
    if (p.classes.empty() || q.classes.empty()) continue;
    ++read;
    std::vector<double> by_class(q.classes.size());
    for (std::size_t k = 0; k < q.classes.size(); ++k)
      by_class[std::size_t(q.classes[k])] = std::max(q.probabilities[k], kLeast);
    for (std::size_t k = 0; k < p.classes.size(); ++k)
      if (p.probabilities[k] > 0)
        sum += p.probabilities[k] * std::log(p.probabilities[k] / by_class[std::size_t(p.classes[k])]);
  }
  return read ? sum / read : 0;
}

std::vector<Prediction> report_skipped(const std::vector<Prediction>& predictions, const std::string& data) {
  std::vector<Prediction> skipped;
  for (const Prediction& p : predictions)
    if (!p.error.empty()) {
      skipped.push_back(p);
      std::fprintf(stderr, "skipped %s\n", p.error.c_str());
    }
  if (skipped.size() == predictions.size())
    file_error(data, "none of its ", predictions.size(), " images could be read");
  return skipped;
}

}  // namespace qhv
