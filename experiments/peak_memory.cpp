#include "experiments/peak_memory.h"

#include <sys/resource.h>

namespace qhv {

std::int64_t peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

}  // namespace qhv
