#include "quant/integer/program.h"

namespace qhv {
namespace {

std::int64_t bytes_of(const Requantization& r) { return std::int64_t(r.multiplier.size()) * 20; }

struct OpBytes {
  std::int64_t operator()(const MultiplyCodes& op) const { return op.weights.data.size(); }
  std::int64_t operator()(const DepthwiseCodes& op) const { return std::int64_t(op.weights.size()); }
  std::int64_t operator()(const AttendCodes& op) const {
    std::int64_t bytes = std::int64_t(op.exponents.size() * sizeof(op.exponents[0]));
    for (const Requantization& scores : op.scores) bytes += bytes_of(scores);
    for (const PlanedSoftmax& s : op.planes)
      bytes += std::int64_t(sizeof(s.exponents) + s.intervals.size() * sizeof(s.intervals[0]));
    return bytes;
  }
  std::int64_t operator()(const SeparableAttendCodes& op) const {
    return std::int64_t(sizeof(op.exponents)) + bytes_of(op.context);
  }
  template <typename WithoutWeights>
  std::int64_t operator()(const WithoutWeights&) const {
    return 0;
  }
};

}  // namespace

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
  std::int64_t bytes = step.store.inner ? bytes_of(*step.store.inner) : 0;
  for (const Output& output : step.store.outputs)
    bytes += bytes_of(output.to_codes) + std::int64_t(output.addend_multiplier.size()) * 4;
  return bytes + std::visit(OpBytes{}, step.op);
}

std::int64_t weight_bytes(const IntegerProgram& program) {
  std::int64_t bytes = 0;
  for (const IntegerStep& step : program.steps) bytes += weight_bytes(step);
  return bytes;
}

}  // namespace qhv
