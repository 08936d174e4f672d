// How training went: a table for machines and a picture for people.
//
//   CSV   one row for each point, with the header
//         epoch,step,lr,train_loss,train_top1,val_loss,val_top1
//         the shortest digits that read back as the same double; what was not measured is empty
//   SVG   losses on the left axis, top-1 accuracies on the right one, over epochs; lines pass over what was
//   not
//         measured and break at NaN
//
// Files are replaced at once (tensor/file.h), so both can be rewritten after every epoch.
//
// Errors: std::runtime_error as write_file and run_gnuplot; std::invalid_argument for an SVG without any
// finite value.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace qhv {

struct CurvePoint {
  double epoch = 0;  // passes over the training images so far
  std::int64_t step = 0;
  double lr = 0;
  double train_loss = 0;
  std::optional<double> train_top1, val_loss, val_top1;  // fractions, not percent
};

void write_curve_csv(const std::string& path, std::span<const CurvePoint> points);

void write_curve_svg(const std::string& path, const std::string& title, std::span<const CurvePoint> points);

}  // namespace qhv
