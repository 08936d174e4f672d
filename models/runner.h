// How a model is run: compiled (nn/executor), a quantised one with its inputs rounded on the way, or in
// integers (quant/integer) if it is said to be. Plans made with --full round more than the float executor has
// steps for; simulated they run in the reference interpreter (nn/run.h), and so does everything but integers
// when the kernels "reference" are asked for.
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "models/model.h"
#include "nn/executor/executor.h"
#include "quant/integer/engine.h"

namespace qhv {

/// Compiles the model. Throws std::invalid_argument for kernels that this build or CPU lacks; empty: the best
/// ones.
Program compile_model(const Model& model, const std::string& kernels = "");

class Runner {
 public:
  /// `model` must outlive it. `streams`: evaluations that may run at the same time, each of up to `batch`
  /// images by `threads` threads. `kernels`: "reference", a table's name, or empty for the best one.
  Runner(const Model& model, std::int64_t batch, int streams, int threads = 1,
         const std::string& kernels = "");

  /// Logits [B, N] of x. Calls for different streams may overlap.
  Tensor run(const Tensor& x, int stream = 0);

  /// "avx512", "avx2", "portable" or "reference"; in integers "vnni", "avx2" or "ref".
  const char* kernels() const;
  /// The compiled network, or null.
  const Program* program() const { return program_ ? &*program_ : nullptr; }
  Executor& executor(int stream = 0) { return executors_[std::size_t(stream)]; }
  /// The same of a network of integers.
  const IntegerProgram* integer_program() const { return integer_program_ ? &*integer_program_ : nullptr; }
  IntegerEngine& integer_engine(int stream = 0) { return engines_[std::size_t(stream)]; }

 private:
  const Model& model_;
  RunHooks hooks_;  // of the interpreter
  std::optional<Program> program_;
  std::deque<Executor> executors_;  // by stream
  std::optional<IntegerProgram> integer_program_;
  std::deque<IntegerEngine> engines_;  // by stream
};

}  // namespace qhv
