// How long work takes, by the wall clock: for latencies, which are medians of many runs.
#pragma once

#include <functional>
#include <vector>

namespace qhv {

/// How long the work takes.
double milliseconds(const std::function<void()>& work);

/// Times of the runs in milliseconds, in order of size.
struct Times {
  std::vector<double> sorted;
  double at(double share) const { return sorted[std::size_t(share * double(sorted.size() - 1) + 0.5)]; }
  double median() const { return at(0.5); }
};

/// Times several kinds of work in turn, run by run, so that what else the machine does falls on all of them.
/// Three runs come before those that count.
std::vector<Times> time_in_turn(const std::vector<std::function<void()>>& work, int runs);

}  // namespace qhv
