#include "tensor/kernels/peaks.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>

#include "tensor/parallel.h"

namespace qhv {
namespace {

constexpr int kRepeats = 5;

/// Of the fastest of a few repeats, all threads doing their `work` at the same time.
double least_seconds(int threads, const std::function<void(std::int64_t thread)>& work) {
  double least = 1e30;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(threads, threads, work);
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return least;
}

}  // namespace

Peaks measure_peaks(const FloatKernels& floats, const IntegerKernels& integers, int threads) {
  constexpr std::int64_t kRounds = 2'000'000;
  constexpr std::size_t kBytes = 64 << 20;
  Peaks peaks;
  volatile double sink = 0;  // so that nothing is left out
  const auto gmacs = [&](double macs_of_round, auto multiply_adds) {
    return macs_of_round * double(kRounds) * threads /
           least_seconds(threads, [&](std::int64_t) { sink = double(multiply_adds(kRounds)); }) / 1e9;
  };
  peaks.gmacs = gmacs(floats.lanes * kMultiplyAddChains, floats.multiply_adds);
  if (integers.multiply_adds) peaks.int8_gmacs = gmacs(integers.macs_of_round, integers.multiply_adds);
  const auto from = std::make_unique<char[]>(kBytes), to = std::make_unique<char[]>(kBytes);
  const std::size_t part = kBytes / std::size_t(threads);
  std::memset(from.get(), 1, kBytes);
  const double seconds = least_seconds(threads, [&](std::int64_t t) {
    std::memcpy(to.get() + std::size_t(t) * part, from.get() + std::size_t(t) * part, part);
  });
  peaks.gbytes = 2 * double(part) * threads / seconds / 1e9;
  return peaks;
}

}  // namespace qhv
