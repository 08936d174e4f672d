// Where the time of a compiled network goes: step by step, by kind of operator, and as a trace.
#pragma once

#include <string>
#include <vector>

#include "models/runner.h"

namespace qhv {

struct StepTime {
  std::string name;
  const char* kind = "";
  double start_ms = 0, ms = 0;  // of the run whose total is the median
  double macs = 0, bytes = 0;   // of the batch; bytes are those of sources, destination and weights
};

/// Times every step in `runs` runs.
std::vector<StepTime> profile(Runner& runner, const Tensor& x, int runs);

struct KindTime {
  std::string kind;
  int steps = 0;
  double ms = 0, macs = 0, bytes = 0;
};

/// Sums by kind, the longest first.
std::vector<KindTime> by_kind(const std::vector<StepTime>& steps);

/// A table for people: time, share, rates and what they are of the peak.
void print_profile(const std::vector<StepTime>& steps, double peak_gmacs);

/// Trace events, which chrome://tracing and Perfetto open. The file is complete or it is not there.
void write_trace(const std::string& path, const std::vector<StepTime>& steps);

}  // namespace qhv
