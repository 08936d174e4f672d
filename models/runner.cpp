#include "models/runner.h"

#include "quant/fake_quant.h"

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
  if (kernels == kReference || (model.plan && model.plan->full)) {
    hooks_ = model_hooks(model);
    return;
  }
  program_ = compile_model(model, kernels);
  for (int i = 0; i < streams; ++i) executors_.emplace_back(*program_, batch, threads);
}

Tensor Runner::run(const Tensor& x, int stream) {
  return program_ ? executor(stream).run(x) : qhv::run(model_.graph, x, hooks_);
}

}  // namespace qhv
