#include "experiments/progress.h"

#include <cmath>
#include <cstdio>
#include <unistd.h>

namespace qhv {

using Clock = std::chrono::steady_clock;

Progress::Progress(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO)) {}

Progress::~Progress() { end_line(); }

void Progress::end_line() {
  if (line_open_) std::fprintf(stderr, "\n");
  line_open_ = false;
}

void Progress::update(const std::string& stage, double done) {
  if (quiet_) return;
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (stage != stage_) {
    end_line();
    stage_ = stage;
    stage_start_ = last_shown_ = now;
  }
  const auto interval = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000);
  if (done < 1 && now - last_shown_ < interval) return;
  last_shown_ = now;

  const double elapsed = std::chrono::duration<double>(now - stage_start_).count();
  const double left = done > 0 ? elapsed * (1 - done) / done : 0;
  if (!terminal_) {
    std::fprintf(stderr, "%s: %.0f %%, %.1f s, %.0f s left\n", stage.c_str(), 100 * done, elapsed, left);
    return;
  }
  constexpr int kWidth = 30;
  const int filled = int(std::lround(done * kWidth));
  const std::string bar =
      std::string(std::size_t(filled), '#') + std::string(std::size_t(kWidth - filled), '.');
  std::fprintf(stderr, "\r%-12s [%s] %3.0f %%  %.0f s left   ", stage.c_str(), bar.c_str(), 100 * done, left);
  line_open_ = true;
  std::fflush(stderr);
}

}  // namespace qhv
