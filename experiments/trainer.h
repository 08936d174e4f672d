// Training from scratch: images in a random order, steps (nn/training.h), validation, and files that are
// never behind by more than one report.
//
// At every report (each `report_steps` steps and when it stops) the averaged network is validated and these
// files are replaced, in this order:
//
//   OUT.training   everything that resuming needs (nn/training_file.h)
//   OUT            the averaged network as a float checkpoint (models/model.h)
//   OUT.csv, .svg  the loss curve
//
// The order of the images and their augmentation are functions of (seed, epoch, image), so a run that was
// interrupted and resumed ends with the same bits.
//
// Errors: std::runtime_error; a loss that is not finite names the step, the learning rate and the last good
// checkpoint.
#pragma once

#include <functional>
#include <string>

#include "data/augment.h"
#include "data/dataset.h"
#include "experiments/curve.h"
#include "models/model.h"
#include "nn/training.h"

namespace qhv {

struct TrainOptions {
  Arch arch;
  int classes = 0;
  std::vector<std::string> labels;  // names of the classes
  Preprocess preprocess;            // its res is the network's
  Augment augment;
  OptimizerOptions optimizer;
  double lr = 1e-3, final_lr_fraction = 0.01;
  double warmup_epochs = 0;
  double label_smoothing = 0.1, clip_norm = 1, ema_decay = 0.999;
  int epochs = 1, batch = 128, shard = 16;
  std::int64_t report_steps = 0;  // 0: an epoch
  std::int64_t stop_after = 0;    // steps of this call, which then ends with a report; 0: all that remain
  bool recompute = false;
  std::uint64_t seed = 0;
  int threads = 1;
};

struct TrainReport {
  CurvePoint point;
  std::int64_t total_steps = 0;
  double gradient_norm = 0;  // mean over the steps since the last report, before clipping
  double images_per_second = 0;
};

struct TrainCallbacks {
  std::function<void(const std::string& stage, double done)> progress;
  std::function<void(const TrainReport&)> report;
};

/// Trains and writes the files above. With `resume` it goes on from OUT.training, which must be of the same
/// options. Returns the curve.
std::vector<CurvePoint> train(const TrainOptions& options, const std::vector<Sample>& samples,
                              const std::vector<Sample>& validation, const std::string& out, bool resume,
                              const TrainCallbacks& callbacks);

}  // namespace qhv
