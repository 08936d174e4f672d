// Images through a network: reading, preparing, running. Several threads work on different batches, so one
// thread decodes while another computes; results come back in the order of the images.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/preprocess.h"
#include "models/model.h"

namespace qhv {

struct Prediction {
  std::string path;
  std::vector<int> classes;           // best first; empty if the image could not be read
  std::vector<double> probabilities;  // of them
  std::string error;                  // why it could not be read
};

struct EvaluateOptions {
  int batch = 1;
  int threads = 1;
  int top = 5;
  std::function<void(double done)> progress;
  std::string kernels = {};  // of Runner
};

/// The labelled images of `data`, whose labels must fit `classes`; if there are more than `limit` (and it is
/// not 0), so many spread evenly over all, so that every class keeps its share.
std::vector<Sample> labelled_samples(const std::string& data, int classes, int limit);

std::vector<std::string> paths_of(const std::vector<Sample>& samples);

std::vector<Prediction> predict(const Model& model, const std::vector<std::string>& paths,
                                const Preprocess& preprocess, const EvaluateOptions& options);

/// Loads and prepares images in parallel; an unreadable one throws.
std::vector<Tensor> load_images(const std::vector<std::string>& paths, const Preprocess& preprocess,
                                int threads);

struct Accuracy {
  int images = 0;  // that could be read
  double top1 = 0, top5 = 0;
};

/// predictions[i] belongs to samples[i].
Accuracy accuracy(const std::vector<Prediction>& predictions, const std::vector<Sample>& samples);

/// The best class of each image; -1 where it could not be read.
std::vector<int> best_classes(const std::vector<Prediction>& predictions);

/// The share of the images, of those that could be read, that have the same best class in both.
double agreement(const std::vector<int>& classes, const std::vector<int>& others);

/// The mean over the images, of those that could be read, of KL(p_reference || p) in nats. Both predictions
/// have all classes. Finer than the share of right answers: it sees errors that change none.
double mean_divergence(const std::vector<Prediction>& reference, const std::vector<Prediction>& predictions);

/// The predictions of images that could not be read, each with a line on stderr. If that is all of them,
/// std::runtime_error that begins with `data`.
std::vector<Prediction> report_skipped(const std::vector<Prediction>& predictions, const std::string& data);

}  // namespace qhv
