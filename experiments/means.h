// Means over the rows of a comparison: over the calibration seeds of a model, and over models.
//
//   spread   the lowest and the highest top-1 of the seeds (three seeds are too few for a deviation)
//   change   top-1 - float top-1
//
// A mean over models only takes rows whose method, bits, scope and seed every model has: models with
// different rows are not compared.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "experiments/table.h"

namespace qhv {

struct Mean {
  TableKey key;   // without seed; without model in a mean over models
  int count = 0;  // of seeds
  double top1 = 0, lowest = 0, highest = 0, agreement = 0, fp32_top1 = 0;
  double bytes = 0, latency_ms = 0, seconds = 0;

  double change() const { return top1 - fp32_top1; }
  bool is_float() const { return key.method == kFloatMethod; }
};

struct MeanOverModels {
  Mean mean;  // its spread is that of the seeds' means over models
  int models = 0;
  double worst_change = 0;  // the lowest of the models' changes, each the mean over seeds
  std::string worst_model;
};

/// One for each model, method, bits and scope, in the order of their first rows.
std::vector<Mean> means_over_seeds(std::span<const TableRow> rows);

/// One for each method, bits and scope.
std::vector<MeanOverModels> means_over_models(std::span<const TableRow> rows);

}  // namespace qhv
