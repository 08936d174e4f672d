// How a model is run: compiled (nn/executor), a quantised one with its inputs rounded on the way, or in
// integers (quant/integer) if it is said to be. Plans made with --full round more than the float executor has
// steps for; simulated they run in the reference interpreter (nn/run.h), and so does everything but integers
// when the kernels "reference" are asked for. A partial plan whose float islands are allowed runs there
// too, its layers in integers (quant/integer/partial_plan.h).
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "models/model.h"
#include "nn/executor/executor.h"
#include "quant/integer/engine.h"

namespace qhv {

/// Compiles the model. Throws std::invalid_argument for kernels that this build or CPU lacks; empty: the best
/// ones.
Program compile_model(const Model& model, const std::string& kernels = "");

/// A step of a compiled network, for reports.
struct StepInfo {
  std::string name;                      // of the node whose output it computes
  const char* kind = "";                 // of operator
  std::int64_t macs = 0, map_bytes = 0;  // for one image; bytes of what it reads and writes
  std::int64_t weight_bytes = 0;
};

class Runner {
 public:
  /// `model` must outlive it. `streams`: evaluations that may run at the same time, each of up to `batch`
  /// images by `threads` threads. `kernels`: "reference", a table's name, or empty for the best one. A plan
  /// that has no integer program is a std::runtime_error that begins with the model's path, if it has one.
  Runner(const Model& model, std::int64_t batch, int streams, int threads = 1,
         const std::string& kernels = "");

  /// Logits [B, N] of x. Calls for different streams may overlap. `after_step`, if any, is called with the
  /// index of each of steps() when it is done.
  Tensor run(const Tensor& x, int stream = 0, const std::function<void(std::size_t)>& after_step = {});

  /// "avx512", "avx2", "portable" or "reference"; of integer products "vnni", "avx2" or "ref".
  const char* kernels() const;
  /// Whether the network was compiled; the interpreter has no steps, and its memory is not known.
  bool is_compiled() const { return program_ || integer_program_; }
  std::vector<StepInfo> steps() const;
  std::int64_t weight_bytes() const;
  /// Buffers and scratch memory of one stream.
  std::int64_t memory_bytes() const;

 private:
  const Model& model_;
  RunHooks hooks_;                  // of the interpreter
  const char* products_ = nullptr;  // the kernels' name, where it has hooks for integer products
  std::optional<Program> program_;
  std::deque<Executor> executors_;  // by stream
  std::optional<IntegerProgram> integer_program_;
  std::deque<IntegerEngine> engines_;  // by stream
};

}  // namespace qhv
