#include "experiments/timing.h"

#include <algorithm>
#include <chrono>

namespace qhv {

double milliseconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

std::vector<Times> time_in_turn(const std::vector<std::function<void()>>& work, int runs) {
  constexpr int kWarmUp = 3;
  std::vector<Times> times(work.size());
  for (int i = -kWarmUp; i < runs; ++i)
    for (std::size_t k = 0; k < work.size(); ++k) {
      const double ms = milliseconds(work[k]);
      if (i >= 0) times[k].sorted.push_back(ms);
    }
  for (Times& t : times) std::sort(t.sorted.begin(), t.sorted.end());
  return times;
}

}  // namespace qhv
