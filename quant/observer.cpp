#include "quant/observer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace qhv {

Range range_of(const real* values, std::int64_t count) {
  if (count == 0) return {};
  // Independent lanes, because compilers keep the order of one running minimum. NaN never wins a comparison,
  // so a third running value, poisoned by 0 * NaN and 0 * Inf, tells of it.
  constexpr std::int64_t kLanes = 16;
  std::array<real, kLanes> lo, hi, poison{};
  lo.fill(values[0]);
  hi.fill(values[0]);
  const auto observe = [&](std::int64_t lane, real v) {
    const std::size_t l = std::size_t(lane);
    lo[l] = v < lo[l] ? v : lo[l];
    hi[l] = v > hi[l] ? v : hi[l];
    poison[l] += v * 0;
  };
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) observe(lane, values[i + lane]);
  for (; i < count; ++i) observe(0, values[i]);
  for (const real p : poison) require(p == 0, "observe", "a value is NaN or infinite");
  return {*std::min_element(lo.begin(), lo.end()), *std::max_element(hi.begin(), hi.end())};
}

Range range_of(const Tensor& x) { return range_of(x.data(), x.size()); }

std::vector<Range> channel_ranges(const Tensor& x, int axis) {
  const std::int64_t inner = inner_count(x.shape(), axis);
  const std::int64_t channels = x.dim(axis);
  std::vector<Range> ranges(std::size_t(channels), Range{});
  for (std::int64_t i = 0; inner && i < x.size() / inner; ++i) {
    Range& range = ranges[std::size_t(i % channels)];
    range = merge(range, range_of(x.data() + i * inner, inner));
  }
  return ranges;
}

Range merge(const Range& a, const Range& b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return {std::min(a.lo, b.lo), std::max(a.hi, b.hi)};
}

std::vector<Range> merge(const std::vector<Range>& a, const std::vector<Range>& b) {
  if (a.empty()) return b;
  std::vector<Range> merged;
  for (std::size_t i = 0; i < a.size(); ++i) merged.push_back(merge(a[i], b[i]));
  return merged;
}

std::vector<Range> merge_groups(const std::vector<Range>& ranges, int group) {
  std::vector<Range> merged(ranges.size() / std::size_t(group));
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    Range& range = merged[i / std::size_t(group)];
    range = merge(range, ranges[i]);
  }
  return merged;
}

Histogram::Histogram(Range range, int bins)
    : range_(range), width_((range.hi - range.lo) / bins), counts_(std::size_t(bins)) {
  require(!range.empty() && std::isfinite(range.lo) && std::isfinite(range.hi) && bins > 0, "histogram", bins,
          " bins over ", range.lo, " .. ", range.hi);
}

void Histogram::add(const Tensor& x) {
  const double inv_width = width_ > 0 ? 1 / width_ : 0, last = double(counts_.size() - 1);
  for (const real v : x.values()) ++counts_[std::size_t(std::clamp((v - range_.lo) * inv_width, 0.0, last))];
}

void Histogram::merge(const Histogram& other) {
  assert(counts_.size() == other.counts_.size());
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
}

Range Histogram::quantile_range(double fraction) const {
  const double total = double(std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0}));
  const double left_out = (1 - fraction) * total;
  std::size_t low = 0, high = counts_.size() - 1;
  for (double below = double(counts_[low]); below <= left_out && low < high; below += double(counts_[low]))
    ++low;
  for (double above = double(counts_[high]); above <= left_out && high > low; above += double(counts_[high]))
    --high;
  return {range_.lo + double(low) * width_, range_.lo + double(high + 1) * width_};
}

double Histogram::quantization_error(const QParams& q) const {
  return error_after([](double x) { return x; }, q);
}

double Histogram::error_after(double (*f)(double), const QParams& q) const {
  double error = 0, total = 0;
  for (std::size_t bin = 0; bin < counts_.size(); ++bin) {
    if (counts_[bin] == 0) continue;
    const double x = center(bin), difference = f(x) - f(fake_quantize(x, q)), count = double(counts_[bin]);
    error += count * difference * difference;
    total += count;
  }
  return total > 0 ? error / total : 0;
}

}  // namespace qhv
