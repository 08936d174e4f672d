// Runs a program of integers (program.h). An engine has the memory of one evaluation, allocated once: a run
// allocates nothing but its result. The program, with its weights, may be shared by several, each on a thread
// of its own.
//
// Logits have the same bits with every table of kernels, any number of threads, and whatever else is in the
// batch.
#pragma once

#include <functional>

#include "quant/integer/normalizer.h"
#include "quant/integer/program.h"
#include "quant/integer/readers.h"
#include "tensor/thread_pool.h"

namespace qhv {

class IntegerEngine {
 public:
  /// `program` must outlive it. `threads` work together on each batch.
  IntegerEngine(const IntegerProgram& program, std::int64_t batch, int threads = 1,
                const IntegerKernels& kernels = best_integer_kernels());

  /// Logits [B, N], in units of program.logit_scale, for x [B, channels, height, width], B from 1 to `batch`.
  /// The image becomes codes on the way in; everything behind is integers. `after_step`, if any, is called
  /// with the index of each step when it is done.
  TensorI32 run(const Tensor& x, const std::function<void(std::size_t step)>& after_step = {});

  /// What a form holds of the first image, [rows, columns], without a border: in after_step, as long as its
  /// buffer is not used for another.
  TensorI32 codes(const Form& form) const;

  const IntegerKernels& kernels() const { return kernels_; }
  /// Bytes of buffers and scratch memory.
  std::int64_t bytes() const {
    return arena_.size() + scratch_.size() + std::int64_t(moments_.size() * sizeof(Moments)) +
           std::int64_t(normalizers_.size() * sizeof(Normalizer));
  }

 private:
  struct Run;

  const IntegerProgram& program_;
  const IntegerKernels& kernels_;
  std::int64_t batch_;
  ThreadPool pool_;
  std::int64_t scratch_size_;  // of a thread
  Aligned<std::uint8_t> arena_, scratch_;
  std::vector<Moments> moments_;         // of stretches of rows of each image, one image after the other
  std::vector<Normalizer> normalizers_;  // of images as a whole
  std::vector<std::vector<std::int64_t>> places_;  // [image][buffer]
};

}  // namespace qhv
