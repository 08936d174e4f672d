// Runs a compiled network. An Executor has the memory of one evaluation, allocated once: a run allocates
// nothing but its result. The program, with its weights, may be shared by several, each on a thread of its
// own.
//
// Results are the reference interpreter's (run.h) within rounding. They do not depend on the number of
// threads, nor on what else is in the batch.
#pragma once

#include <functional>

#include "nn/executor/program.h"
#include "tensor/thread_pool.h"

namespace qhv {

class Executor {
 public:
  /// `program` must outlive it. `threads` work together on each batch.
  Executor(const Program& program, std::int64_t batch, int threads = 1);

  /// Outputs [B, N] for x [B, channels, height, width], B from 1 to `batch`. `after_step`, if any, is called
  /// with the index of each step when it is done.
  Tensor run(const Tensor& x, const std::function<void(std::size_t step)>& after_step = {});

  /// Bytes of buffers and scratch memory.
  std::int64_t bytes() const { return (arena_.size() + scratch_.size()) * 4; }

 private:
  struct Run;

  const Program& program_;
  std::int64_t batch_;
  ThreadPool pool_;
  AlignedFloats arena_, scratch_;  // scratch by piece of work in flight
};

}  // namespace qhv
