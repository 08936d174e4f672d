#include "quant/integer/program.h"

namespace qhv {

const char* sums_kind(const SumsOp& op) {
  struct {
    const char* operator()(const LoadCodes&) { return "layout"; }
    const char* operator()(const PadCodes&) { return "layout"; }
    const char* operator()(const MultiplyCodes& m) {
      return m.weights.segments > 1 ? "convolution" : "matrix product";
    }
    const char* operator()(const DepthwiseCodes&) { return "depthwise"; }
    const char* operator()(const NormalizeCodes&) { return "normalisation"; }
    const char* operator()(const AttendCodes&) { return "attention"; }
    const char* operator()(const SeparableAttendCodes&) { return "attention"; }
    const char* operator()(const PoolCodes&) { return "pooling"; }
    const char* operator()(const ResizeCodes&) { return "resizing"; }
    const char* operator()(const CopyCodes&) { return "elementwise"; }
  } kind;
  return std::visit(kind, op);
}

std::int64_t weight_bytes(const IntegerStep& step) {
  const auto bytes_of = [](const Requantization& r) { return std::int64_t(r.multiplier.size()) * 20; };
  std::int64_t bytes = step.store.inner ? bytes_of(*step.store.inner) : 0;
  for (const Output& output : step.store.outputs)
    bytes += bytes_of(output.to_codes) + std::int64_t(output.addend_multiplier.size()) * 4;
  if (const auto* m = std::get_if<MultiplyCodes>(&step.op)) bytes += m->weights.data.size();
  if (const auto* d = std::get_if<DepthwiseCodes>(&step.op)) bytes += std::int64_t(d->weights.size());
  return bytes;
}

std::int64_t weight_bytes(const IntegerProgram& program) {
  std::int64_t bytes = 0;
  for (const IntegerStep& step : program.steps) bytes += weight_bytes(step);
  return bytes;
}

}  // namespace qhv
