#include "nn/executor/inverted_residual.h"

#include <algorithm>

namespace qhv {
namespace {

constexpr std::int64_t kSmallest = 128 << 10;  // floats of an expanded map that is worth it
constexpr std::int64_t kPixels = 64;           // of the output at a time, for whole tiles of the products

/// Rows of the output at a time, and of the expanded map that are kept.
std::int64_t rows_at_a_time(const Depthwise& d) { return std::max<std::int64_t>(1, kPixels / d.out_width); }
std::int64_t rows_kept(const Depthwise& d) { return rows_at_a_time(d) * d.stride + 2; }

std::int64_t kept_size(const Depthwise& d) { return aligned_size(rows_kept(d) * d.width * d.channels); }

GemmTask task_of(const PackedMatrix& matrix, const float* src, float* dst, Activation activation) {
  return {.src = src,
          .src_stride = matrix.depth,
          .segment_depth = matrix.depth,
          .panels = matrix.panels.data(),
          .panel_count = int(matrix.panels.size()),
          .dst = dst,
          .dst_stride = matrix.columns,
          .activation = activation};
}

bool is_pointwise(const Multiply& m) { return m.segments == 1 && m.src_rows.empty(); }

}  // namespace

std::int64_t inverted_residual_scratch(const InvertedResidual& op) {
  const Depthwise& d = op.middle;
  return kept_size(d) + aligned_size(rows_at_a_time(d) * d.out_width * d.channels);
}

void inverted_residual_rows(const InvertedResidual& op, const FloatKernels& kernels, std::int64_t begin,
                            std::int64_t end, const float* src, const float* residual, float* dst,
                            float* scratch) {
  const Depthwise& d = op.middle;
  const std::int64_t period = rows_kept(d), step = rows_at_a_time(d);
  float *expanded = scratch, *filtered = scratch + kept_size(d);
  DepthwiseTask filter{.src = expanded,
                       .src_period = period,
                       .dst = filtered,
                       .weights = d.weights.data(),
                       .bias = d.bias.data(),
                       .height = d.height,
                       .width = d.width,
                       .channels = d.channels,
                       .out_width = d.out_width,
                       .stride = d.stride,
                       .activation = d.activation};
  std::int64_t next = std::max<std::int64_t>(0, begin * d.stride - 1);  // row to expand
  for (std::int64_t row = begin; row < end; row += step) {
    const std::int64_t count = std::min(step, end - row),
                       needed = std::min(d.height, (row + count - 1) * d.stride + 2);
    while (next < needed) {  // up to where the kept rows begin again
      const std::int64_t run = std::min(needed - next, period - next % period);
      const float* pixels = src + next * d.width * op.expand.depth;
      float* to = expanded + next % period * d.width * d.channels;
      kernels.gemm(task_of(op.expand, pixels, to, Activation::kSilu), 0, run * d.width);
      next += run;
    }
    kernels.depthwise(filter, row, row + count);
    const std::int64_t first = row * d.out_width * op.project.columns;
    GemmTask project = task_of(op.project, filtered, dst + first, Activation::kNone);
    if (residual) project.residual = residual + first;
    project.residual_stride = op.project.columns;
    kernels.gemm(project, 0, count * d.out_width);
  }
}

void fuse_inverted_residuals(Program& program) {
  std::vector<int> readers(program.buffers.size(), 0);
  for (const Step& step : program.steps)
    for (const int src : step.src) ++readers[std::size_t(src)];
  std::vector<Step> steps;
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const auto chained = [&](const Step& a, const Step& b) {
      return b.src[0] == a.dst && readers[std::size_t(a.dst)] == 1;
    };
    auto* three = program.steps.data() + i;
    auto* expand = std::get_if<Multiply>(&three[0].op);
    auto* middle = expand && i + 2 < program.steps.size() ? std::get_if<Depthwise>(&three[1].op) : nullptr;
    auto* project = middle ? std::get_if<Multiply>(&three[2].op) : nullptr;
    if (!project || !chained(three[0], three[1]) || !chained(three[1], three[2]) ||
        three[0].src.size() != 1 || expand->activation != Activation::kSilu ||
        project->activation != Activation::kNone || !is_pointwise(*expand) || !is_pointwise(*project) ||
        program.buffers[std::size_t(three[0].dst)].size < kSmallest) {
      steps.push_back(std::move(three[0]));
      continue;
    }
    for (const int inner : {three[0].dst, three[1].dst}) program.buffers[std::size_t(inner)].size = 0;
    Step fused{three[2].name, {}, three[0].src, three[2].dst, three[0].macs + three[1].macs + three[2].macs};
    if (three[2].src.size() > 1) fused.src.push_back(three[2].src[1]);
    InvertedResidual op{std::move(expand->weights), std::move(*middle), std::move(project->weights)};
    program.scratch_size = std::max(program.scratch_size, inverted_residual_scratch(op));
    fused.op = std::move(op);
    steps.push_back(std::move(fused));
    i += 2;
  }
  program.steps = std::move(steps);
}

}  // namespace qhv
