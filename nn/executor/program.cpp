#include "nn/executor/program.h"

namespace qhv {

const char* step_kind(const StepOp& op) {
  struct {
    const char* operator()(const LoadInput&) { return "layout"; }
    const char* operator()(const PadMap&) { return "layout"; }
    const char* operator()(const RoundMap&) { return "rounding"; }
    const char* operator()(const Multiply& m) { return m.segments > 1 ? "convolution" : "matrix product"; }
    const char* operator()(const WinogradConv&) { return "convolution"; }
    const char* operator()(const Depthwise&) { return "depthwise"; }
    const char* operator()(const InvertedResidual&) { return "inverted residual"; }
    const char* operator()(const NormalizeRows&) { return "normalisation"; }
    const char* operator()(const NormalizeImage&) { return "normalisation"; }
    const char* operator()(const Attention&) { return "attention"; }
    const char* operator()(const SeparableAttention&) { return "attention"; }
    const char* operator()(const Join&) { return "layout"; }
    const char* operator()(const AddMaps&) { return "elementwise"; }
    const char* operator()(const ActivateMap&) { return "elementwise"; }
    const char* operator()(const PoolMap&) { return "pooling"; }
    const char* operator()(const ResizeMap&) { return "resizing"; }
  } kind;
  return std::visit(kind, op);
}

std::int64_t weight_bytes(const Step& step) {
  std::int64_t floats = 0;
  if (const auto* m = std::get_if<Multiply>(&step.op)) floats = m->weights.data.size();
  if (const auto* r = std::get_if<InvertedResidual>(&step.op))
    floats = r->expand.data.size() + r->middle.weights.size() + r->project.data.size();
  if (const auto* conv = std::get_if<WinogradConv>(&step.op))
    for (const PackedMatrix& matrix : conv->weights) floats += matrix.data.size();
  return floats * 4;
}

std::int64_t weight_bytes(const Program& program) {
  std::int64_t bytes = 0;
  for (const Step& step : program.steps) bytes += weight_bytes(step);
  return bytes;
}

}  // namespace qhv
