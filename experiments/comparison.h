// Models in float and by every method at every bit width, over the same images, row by row into a CSV file
// (table.h). What the file holds already is not computed again: an interrupted comparison goes on, and a new
// method, model or seed only costs its own rows.
//
// A row's settings, for example
//   calib=calib:32 data=val:2000 signal=default search=fast res=256 resize=256 interpolation=bicubic
//   mean=0/0/0 std=1/1/1 bgr=no
// name the calibration and test images with their numbers; that of a float network lacks what belongs to
// calibration.
//
// Errors: std::runtime_error as those of the files, and for a row that was asked for and stands in the file
// with other settings; everything that can be checked before the work is.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"
#include "experiments/quantize.h"
#include "experiments/table.h"

namespace qhv {

struct ComparisonOptions {
  std::vector<TableKey> rows;   // a model's float row comes before its others
  QuantizeOptions calibration;  // its method and bits are those of a row
  std::string data, out;        // labelled images; the CSV file
  int limit = 0;                // as of labelled_samples
  ImageOptions image;
};

/// Completes the CSV file and returns the rows that were asked for, in their order. Says on stderr what it
/// does.
std::vector<TableRow> compare(const ComparisonOptions& options, const GlobalOptions& global);

}  // namespace qhv
