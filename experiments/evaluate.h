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
};

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

}  // namespace qhv
