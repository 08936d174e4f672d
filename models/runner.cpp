#include "models/runner.h"

#include "quant/fake_quant.h"
#include "quant/integer/lower.h"

namespace qhv {
namespace {

constexpr const char* kReference = "reference";

}  // namespace

Program compile_model(const Model& model, const std::string& kernels) {
  Roundings roundings;
  if (model.plan) roundings = [&](Edge edge) { return row_rounding(model.graph, *model.plan, edge); };
  return compile(model.graph, kernels.empty() ? best_float_kernels() : find_float_kernels(kernels),
                 roundings);
}

Runner::Runner(const Model& model, std::int64_t batch, int streams, int threads, const std::string& kernels)
    : model_(model) {
  if (model.in_integers) {
    integer_program_ = lower(model.graph, *model.plan);
    const IntegerKernels& table = kernels.empty() ? best_integer_kernels() : find_integer_kernels(kernels);
    for (int i = 0; i < streams; ++i) engines_.emplace_back(*integer_program_, batch, threads, table);
    return;
  }
  if (kernels == kReference || (model.plan && model.plan->full)) {
    hooks_ = model_hooks(model);
    return;
  }
  program_ = compile_model(model, kernels);
  for (int i = 0; i < streams; ++i) executors_.emplace_back(*program_, batch, threads);
}

const char* Runner::kernels() const {
  if (integer_program_) return engines_.front().kernels().name;
  return program_ ? program_->kernels->name : kReference;
}

Tensor Runner::run(const Tensor& x, int stream) {
  if (integer_program_) {
    const TensorI32 codes = integer_engine(stream).run(x);
    Tensor logits = Tensor::uninitialized(codes.shape());
    for (std::int64_t i = 0; i < codes.size(); ++i)
      logits[i] = real(codes[i] * integer_program_->logit_scale);
    return logits;
  }
  return program_ ? executor(stream).run(x) : qhv::run(model_.graph, x, hooks_);
}

}  // namespace qhv
