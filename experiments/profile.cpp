#include "experiments/profile.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tensor/file.h"

namespace qhv {
namespace {

using nlohmann::json;

}  // namespace

std::vector<StepTime> profile(Runner& runner, const Tensor& x, int runs) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::vector<double>> ends(
      static_cast<std::size_t>(runs));  // by run: milliseconds after its start, by step
  for (std::vector<double>& run : ends) {
    const auto start = Clock::now();
    runner.run(x, 0, [&](std::size_t) {
      run.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    });
  }
  const auto middle = ends.begin() + std::ptrdiff_t(ends.size() / 2);
  std::ranges::nth_element(ends, middle, {}, [](const std::vector<double>& run) { return run.back(); });
  std::vector<StepTime> result;
  const double images = double(x.dim(0));
  double start = 0;
  std::size_t i = 0;
  for (const StepInfo& step : runner.steps()) {
    const double end = (*middle)[i++];
    result.push_back({step.name, step.kind, start, end - start, double(step.macs) * images,
                      double(step.map_bytes) * images + double(step.weight_bytes)});
    start = end;
  }
  return result;
}

std::vector<KindTime> by_kind(const std::vector<StepTime>& steps) {
  std::vector<KindTime> kinds;
  for (const StepTime& step : steps) {
    auto kind = std::ranges::find(kinds, step.kind, &KindTime::kind);
    if (kind == kinds.end()) kind = kinds.insert(kinds.end(), KindTime{step.kind});
    ++kind->steps;
    kind->ms += step.ms;
    kind->macs += step.macs;
    kind->bytes += step.bytes;
  }
  std::ranges::stable_sort(kinds, std::greater(), &KindTime::ms);
  return kinds;
}

void print_profile(const std::vector<StepTime>& steps, double peak_gmacs) {
  KindTime total{"all"};
  std::printf("%-16s %5s %9s %6s %8s %8s %7s %8s\n", "operator", "steps", "ms", "share", "GMAC/s", "of peak",
              "GB/s", "floor ms");
  std::vector<KindTime> kinds = by_kind(steps);
  for (const KindTime& kind : kinds) {
    total.steps += kind.steps;
    total.ms += kind.ms;
    total.macs += kind.macs;
    total.bytes += kind.bytes;
  }
  kinds.push_back(total);
  for (const KindTime& kind : kinds) {
    const double rate = kind.macs / kind.ms / 1e6;
    std::printf("%-16s %5d %9.3f %5.1f%% %8.1f %7.1f%% %7.1f %8.3f\n", kind.kind.c_str(), kind.steps, kind.ms,
                100 * kind.ms / total.ms, rate, 100 * rate / peak_gmacs, kind.bytes / kind.ms / 1e6,
                kind.macs / peak_gmacs / 1e6);
  }
}

void write_trace(const std::string& path, const std::vector<StepTime>& steps) {
  json events = json::array();
  for (const StepTime& step : steps)
    events.push_back({{"name", step.name},
                      {"cat", step.kind},
                      {"ph", "X"},
                      {"ts", step.start_ms * 1000},
                      {"dur", step.ms * 1000},
                      {"pid", 1},
                      {"tid", 1},
                      {"args",
                       {{"operator", step.kind},
                        {"GMAC/s", step.macs / step.ms / 1e6},
                        {"GB/s", step.bytes / step.ms / 1e6}}}});
  write_file(path, json{{"traceEvents", events}, {"displayTimeUnit", "ms"}}.dump(1) + "\n");
}

}  // namespace qhv
