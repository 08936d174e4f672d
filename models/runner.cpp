#include "models/runner.h"

#include "quant/fake_quant.h"
#include "quant/integer/lower.h"
#include "quant/integer/partial_plan.h"

namespace qhv {
namespace {

constexpr const char* kReference = "reference";

/// What `make` makes of the model's graph and plan. A plan that integer arithmetic does not take is the fault
/// of the file that it came with, if there is one.
template <typename Make>
auto of_plan(const Model& model, Make make) {
  try {
    return make(model.graph, *model.plan);
  } catch (const std::invalid_argument& error) {
    if (model.path.empty()) throw;
    file_error(model.path, error.what());
  }
}

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
    const IntegerKernels& table = kernels.empty() ? best_integer_kernels() : find_integer_kernels(kernels);
    if (model.has_float_islands()) {
      hooks_ = of_plan(model, [&](const Graph& graph, const QuantPlan& plan) {
        return partial_plan_hooks(graph, plan, table);
      });
      products_ = table.name;
      return;
    }
    integer_program_ =
        of_plan(model, [](const Graph& graph, const QuantPlan& plan) { return lower(graph, plan); });
    for (int i = 0; i < streams; ++i) engines_.emplace_back(*integer_program_, batch, threads, table);
    return;
  }
  require(!model.graph.bare, "runner", "the model was loaded for the integer engine alone");
  if (kernels == kReference || (model.plan && model.plan->full)) {
    hooks_ = model_hooks(model);
    return;
  }
  program_ = compile_model(model, kernels);
  for (int i = 0; i < streams; ++i) executors_.emplace_back(*program_, batch, threads);
}

const char* Runner::kernels() const {
  if (integer_program_) return engines_.front().kernels().name;
  return program_ ? program_->kernels->name : products_ ? products_ : kReference;
}

Tensor Runner::run(const Tensor& x, int stream, const std::function<void(std::size_t)>& after_step) {
  if (program_) return executors_[std::size_t(stream)].run(x, after_step);
  if (!integer_program_) return qhv::run(model_.graph, x, hooks_);
  const TensorI32 codes = engines_[std::size_t(stream)].run(x, after_step);
  Tensor logits = Tensor::uninitialized(codes.shape());
  for (std::int64_t i = 0; i < codes.size(); ++i) logits[i] = real(codes[i] * integer_program_->logit_scale);
  return logits;
}

std::vector<StepInfo> Runner::steps() const {
  std::vector<StepInfo> infos;
  if (program_)
    for (const Step& step : program_->steps) {
      std::int64_t floats = program_->buffers[std::size_t(step.dst)].size;
      for (const int src : step.src) floats += program_->buffers[std::size_t(src)].size;
      infos.push_back({step.name, step_kind(step.op), step.macs, floats * 4, qhv::weight_bytes(step)});
    }
  if (integer_program_)
    for (const IntegerStep& step : integer_program_->steps) {
      std::int64_t bytes = 0;
      const auto add = [&](int buffer) { bytes += integer_program_->buffers[std::size_t(buffer)].size; };
      for (const Output& output : step.store.outputs) add(output.buffer);
      for (const int src : step.src) add(src);
      if (step.store.addend >= 0) add(step.store.addend);
      infos.push_back({step.name, sums_kind(step.op), step.macs, bytes, qhv::weight_bytes(step)});
    }
  return infos;
}

std::int64_t Runner::weight_bytes() const {
  return program_           ? qhv::weight_bytes(*program_)
         : integer_program_ ? qhv::weight_bytes(*integer_program_)
                            : 0;
}

std::int64_t Runner::memory_bytes() const {
  return program_ ? executors_.front().bytes() : integer_program_ ? engines_.front().bytes() : 0;
}

}  // namespace qhv
