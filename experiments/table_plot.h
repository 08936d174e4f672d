// A picture of a comparison (table.h), drawn by gnuplot: top-1 over bit widths, a panel for each model and,
// if there are several, one for the mean over models. A method is a line; its points are means over seeds,
// with bars from the lowest to the highest; float32 is a dashed line. The y axis of a panel ends 30 points
// below float32, so that one method that collapses does not flatten the others: what lies below is a triangle
// at the lower edge.
//
// Errors: std::runtime_error as write_file and run_gnuplot; std::invalid_argument without any quantised row.
#pragma once

#include <span>
#include <string>

#include "experiments/table.h"

namespace qhv {

void write_table_svg(const std::string& path, std::span<const TableRow> rows);

}  // namespace qhv
