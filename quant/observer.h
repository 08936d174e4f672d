// What calibration remembers of a tensor's values. Ranges and histograms merge by minimum, maximum and
// integer sums, so the outcome does not depend on the order of the images or on the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/qparams.h"

namespace qhv {

/// Smallest and largest value. Throws std::invalid_argument if a value is NaN or infinite.
Range range_of(const real* values, std::int64_t count);
Range range_of(const Tensor& x);

/// One range for each index of `axis`.
std::vector<Range> channel_ranges(const Tensor& x, int axis);

Range merge(const Range& a, const Range& b);

/// Index by index; an empty list is that of nothing seen.
std::vector<Range> merge(const std::vector<Range>& a, const std::vector<Range>& b);

/// One range for each `group` consecutive ones.
std::vector<Range> merge_groups(const std::vector<Range>& ranges, int group);

/// Counts of values in equal bins over a range fixed beforehand; values outside go to the nearest end.
class Histogram {
 public:
  explicit Histogram(Range range, int bins = 4096);

  void add(const Tensor& x);
  void merge(const Histogram& other);

  /// The range that leaves out the share (1 - fraction) at the bottom and the same at the top, to one bin.
  Range quantile_range(double fraction) const;

  /// Mean squared error of quantising the values, each taken at its bin's centre.
  double quantization_error(const QParams& q) const;

  /// The same behind a function: the mean of (f(x^) - f(x))^2. The parameters are per tensor.
  double error_after(double (*f)(double), const QParams& q) const;

 private:
  double center(std::size_t bin) const { return range_.lo + (double(bin) + 0.5) * width_; }

  Range range_;
  double width_;
  std::vector<std::uint64_t> counts_;
};

}  // namespace qhv
