// How long work shows itself: a bar on a terminal, a plain line now and then elsewhere, nothing with --quiet.
// On stderr, so that results can be piped.
#pragma once

#include <chrono>
#include <mutex>
#include <string>

namespace qhv {

class Progress {
 public:
  explicit Progress(bool quiet);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` from 0 to 1 within the stage. May be called by any thread.
  void update(const std::string& stage, double done);

 private:
  void end_line();

  bool quiet_, terminal_;
  bool line_open_ = false;
  std::string stage_;
  std::chrono::steady_clock::time_point stage_start_, last_shown_;
  std::mutex mutex_;
};

}  // namespace qhv
