#include "nn/executor/executor.h"

#include <algorithm>
#include <cmath>

#include "nn/executor/attend.h"
#include "nn/executor/inverted_residual.h"
#include "nn/shapes.h"

namespace qhv {
namespace {

// An image's normalisation sums by stretches of fixed size, added up in order, whichever threads computed
// them.
constexpr std::int64_t kStretch = 8192;

std::int64_t stretches_of(const NormalizeImage& op) {
  return (op.rows * op.channels + kStretch - 1) / kStretch;
}

/// Scratch memory of all threads together: a double for each stretch, two floats for each channel.
std::int64_t normalization_scratch(const NormalizeImage& op) {
  return aligned_size(2 * stretches_of(op)) + 2 * aligned_size(op.channels);
}

}  // namespace

/// One evaluation: a visitor of steps.
struct Executor::Run {
  const Program& program;
  const FloatKernels& kernels;
  ThreadPool& pool;
  float* arena;
  float* scratch;
  std::int64_t batch;
  const float* input;
  const Step* step = nullptr;

  float* buffer(int index) const { return arena + program.buffers[std::size_t(index)].offset * capacity; }
  const float* src(std::size_t i = 0) const { return buffer(step->src[i]); }
  float* dst() const { return buffer(step->dst); }
  std::int64_t capacity;  // images that the arena has room for

  /// body(begin, end) for stretches of `count` rows of the same size: as many for each thread, and up to
  /// four.
  template <typename Body>
  void split(std::int64_t count, Body body) const {
    constexpr std::int64_t kLeast = 24, kTile = 12;  // rows: of a stretch, and of the least tile of a product
    const std::int64_t threads = pool.threads();
    if (threads == 1 || count < kLeast) return body(std::int64_t{0}, count);
    const std::int64_t pieces = threads * std::clamp<std::int64_t>(count / (kLeast * threads), 1, 8),
                       tiles = (count + kTile - 1) / kTile;
    pool.run(pieces, [&](std::int64_t i, int) {
      body(i * tiles / pieces * kTile, std::min(count, (i + 1) * tiles / pieces * kTile));
    });
  }

  void operator()(const LoadInput& op) const {
    const std::int64_t width = op.width + 2 * op.pad, height = op.height + 2 * op.pad,
                       area = op.height * op.width;
    split(batch * height, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        float* out = dst() + row * width * op.channels;
        const std::int64_t y = row % height - op.pad;
        if (y < 0 || y >= op.height) {
          std::fill_n(out, width * op.channels, 0.0f);
          continue;
        }
        std::fill_n(out, op.pad * op.channels, 0.0f);
        std::fill_n(out + (op.pad + op.width) * op.channels, op.pad * op.channels, 0.0f);
        out += op.pad * op.channels;
        const float* in = input + row / height * op.channels * area + y * op.width;
        if (op.channels == 3) {
          kernels.interleave3(in, area, op.width, out);
          continue;
        }
        for (std::int64_t c = 0; c < op.channels; ++c)
          for (std::int64_t x = 0; x < op.width; ++x) out[x * op.channels + c] = in[c * area + x];
      }
    });
  }

  void operator()(const PadMap& op) const {
    const std::int64_t width = (op.width + 2 * op.pad) * op.channels, height = op.height + 2 * op.pad,
                       inner = op.width * op.channels, border = op.pad * op.channels;
    split(batch * height, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        float* out = dst() + row * width;
        const std::int64_t y = row % height - op.pad;
        if (y < 0 || y >= op.height) {
          std::fill_n(out, width, 0.0f);
          continue;
        }
        std::fill_n(out, border, 0.0f);
        std::copy_n(src() + (row / height * op.height + y) * inner, inner, out + border);
        std::fill_n(out + border + inner, border, 0.0f);
      }
    });
  }

  void operator()(const RoundMap& op) const {
    split(batch * op.rows, [&](std::int64_t begin, std::int64_t end) {
      op.round(src() + begin * op.channels, dst() + begin * op.channels, end - begin, op.channels, -1);
    });
  }

  /// Threads share the larger of the two factors, and each reads all of the other one.
  void multiply(const GemmTask& task, std::int64_t rows) const {
    if (pool.threads() == 1 || task.panel_count < pool.threads() || task.dst_stride < rows)
      return split(rows, [&](std::int64_t begin, std::int64_t end) { kernels.gemm(task, begin, end); });
    pool.run(2 * task.panel_count, [&](std::int64_t i, int) {
      GemmTask part = task;
      part.panels += i / 2;
      part.panel_count = 1;
      const std::int64_t middle = rows / 2;
      kernels.gemm(part, i % 2 ? middle : 0, i % 2 ? rows : middle);
    });
  }

  void operator()(const Multiply& op) const {
    GemmTask task{.src = src(),
                  .src_stride = op.src_stride,
                  .segments = op.segments,
                  .segment_stride = op.segment_stride,
                  .segment_depth = op.weights.depth / op.segments,
                  .panels = op.weights.panels.data(),
                  .panel_count = int(op.weights.panels.size()),
                  .dst = dst(),
                  .dst_stride = op.weights.columns,
                  .residual = step->src.size() > 1 ? src(1) : nullptr,
                  .residual_stride = op.weights.columns,
                  .activation = op.activation};
    if (op.src_rows.empty()) return multiply(task, batch * op.rows);
    task.src_rows = op.src_rows.data();
    for (std::int64_t image = 0; image < batch; ++image) {
      multiply(task, op.rows);
      task.src += op.src_size;
      task.dst += op.rows * op.weights.columns;
      if (task.residual) task.residual += op.rows * op.weights.columns;
    }
  }

  void operator()(const WinogradConv& op) const { convolve(op, kernels, pool, batch, src(), dst(), scratch); }

  void operator()(const Depthwise& op) const {
    for (std::int64_t image = 0; image < batch; ++image) {
      const std::int64_t row_size = op.out_width * op.channels;
      float* to = dst() + image * op.out_height * row_size;
      const DepthwiseTask task{.src = src() + image * op.height * op.width * op.channels,
                               .src_period = op.height,
                               .weights = op.weights.data(),
                               .bias = op.bias.data(),
                               .height = op.height,
                               .width = op.width,
                               .channels = op.channels,
                               .out_width = op.out_width,
                               .stride = op.stride,
                               .activation = op.activation};
      const std::int64_t pieces =
          pool.threads() == 1 ? 1 : std::min<std::int64_t>(4 * pool.threads(), op.out_height);
      pool.run(pieces, [&](std::int64_t i, int) {
        DepthwiseTask piece = task;
        const std::int64_t begin = i * op.out_height / pieces;
        piece.dst = to + begin * row_size;
        kernels.depthwise(piece, begin, (i + 1) * op.out_height / pieces);
      });
    }
  }

  void operator()(const InvertedResidual& op) const {
    // A band of rows for each thread: each expands the rows around its band itself.
    constexpr std::int64_t kLeast = 4;
    const Depthwise& d = op.middle;
    const std::int64_t bands = std::clamp<std::int64_t>(d.out_height / kLeast, 1, pool.threads()),
                       in_size = d.height * d.width * op.expand.depth,
                       out_size = d.out_height * d.out_width * op.project.columns;
    pool.run(batch * bands, [&](std::int64_t item, int thread) {
      const std::int64_t image = item / bands, band = item % bands;
      inverted_residual_rows(op, kernels, band * d.out_height / bands, (band + 1) * d.out_height / bands,
                             src() + image * in_size,
                             step->src.size() > 1 ? src(1) + image * out_size : nullptr,
                             dst() + image * out_size, scratch + thread * program.scratch_size);
    });
  }

  void operator()(const NormalizeRows& op) const {
    split(batch * op.rows, [&](std::int64_t begin, std::int64_t end) {
      kernels.layer_norm(src() + begin * op.channels, dst() + begin * op.channels, end - begin, op.channels,
                         op.weight.data(), op.bias.data(), op.eps);
    });
  }

  void operator()(const NormalizeImage& op) const {
    const std::int64_t size = op.rows * op.channels, stretches = stretches_of(op);
    auto* sums = reinterpret_cast<double*>(scratch);
    float *scale = scratch + aligned_size(2 * stretches), *shift = scale + aligned_size(op.channels);
    const auto total = [&](const auto& of) {
      pool.run(stretches, [&](std::int64_t i, int) {
        sums[i] = of(i * kStretch, std::min(kStretch, size - i * kStretch));
      });
      double sum = 0;
      for (std::int64_t i = 0; i < stretches; ++i) sum += sums[i];
      return sum;
    };
    for (std::int64_t image = 0; image < batch; ++image) {
      const float* x = src() + image * size;
      float* y = dst() + image * size;
      const double mean =
          total([&](std::int64_t first, std::int64_t count) { return kernels.sum(x + first, count); }) /
          double(size);
      const double variance = total([&](std::int64_t first, std::int64_t count) {
                                return kernels.sum_of_squares(x + first, float(mean), count);
                              }) /
                              double(size);
      const double factor = 1 / std::sqrt(variance + op.eps);
      for (std::int64_t c = 0; c < op.channels; ++c) {
        scale[c] = float(double(op.weight.data()[c]) * factor);
        shift[c] = float(double(op.bias.data()[c]) - mean * double(op.weight.data()[c]) * factor);
      }
      split(op.rows, [&](std::int64_t begin, std::int64_t end) {
        kernels.scale_shift(x + begin * op.channels, y + begin * op.channels, end - begin, op.channels, scale,
                            shift);
      });
    }
  }

  void operator()(const Attention& op) const {
    const std::int64_t rows = op.in.positions * op.in.tokens, channels = op.heads * op.head_size;
    pool.run(batch * op.in.positions * op.heads, [&](std::int64_t item, int thread) {
      const std::int64_t head = item % op.heads, position = item / op.heads % op.in.positions,
                         image = item / op.heads / op.in.positions;
      attend_head(op, kernels, src() + image * rows * op.in.channels,
                  op.in.rows.data() + position * op.in.tokens, head, dst() + image * rows * channels,
                  scratch + thread * program.scratch_size);
    });
  }

  void operator()(const SeparableAttention& op) const {
    const std::int64_t rows = op.in.positions * op.in.tokens;
    pool.run(batch * op.in.positions, [&](std::int64_t item, int thread) {
      const std::int64_t image = item / op.in.positions;
      const std::int32_t* pixels = op.in.rows.data() + item % op.in.positions * op.in.tokens;
      const float* x = src() + image * rows * op.in.channels;
      float* y = dst() + image * rows * op.channels;
      float* scores = scratch + thread * program.scratch_size;
      auto* keys = reinterpret_cast<std::int32_t*>(scores + aligned_size(op.in.tokens));
      float* context = scores + 2 * aligned_size(op.in.tokens);
      for (std::int64_t t = 0; t < op.in.tokens; ++t) {
        const std::int64_t row = pixels[t] * op.in.channels;
        scores[t] = x[row + op.in.q];
        keys[t] = std::int32_t(row + op.in.k);
      }
      kernels.softmax_rows(scores, scores, 1, op.in.tokens);
      kernels.weighted_sum(x, keys, scores, op.in.tokens, context, op.channels);
      for (std::int64_t t = 0; t < op.in.tokens; ++t)
        kernels.gate(x + pixels[t] * op.in.channels + op.in.v, context, y + pixels[t] * op.channels,
                     op.channels);
    });
  }

  void operator()(const Join& op) const {
    std::int64_t total = 0;
    for (const std::int64_t channels : op.channels) total += channels;
    split(batch * op.rows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        float* out = dst() + row * total;
        for (std::size_t i = 0; i < op.channels.size(); ++i)
          out = std::copy_n(src(i) + row * op.channels[i], op.channels[i], out);
      }
    });
  }

  void operator()(const AddMaps& op) const {
    split(batch * op.size, [&](std::int64_t begin, std::int64_t end) {
      kernels.add(src(0) + begin, src(1) + begin, dst() + begin, end - begin);
    });
  }

  void operator()(const ActivateMap& op) const {
    split(batch * op.size, [&](std::int64_t begin, std::int64_t end) {
      kernels.silu(src() + begin, dst() + begin, end - begin);
    });
  }

  void operator()(const PoolMap& op) const {
    const std::int64_t rows = std::ssize(op.offsets);
    pool.run(batch, [&](std::int64_t image, int) {
      kernels.weighted_sum(src() + image * rows * op.channels, op.offsets.data(), op.factors.data(), rows,
                           dst() + image * op.channels, op.channels);
    });
  }

  void operator()(const ResizeMap& op) const {
    const std::int64_t out_height = std::ssize(op.rows), out_width = std::ssize(op.columns);
    split(batch * out_height, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t line = begin; line < end; ++line) {
        const ResizeTap& row = op.rows[std::size_t(line % out_height)];
        const float* x = src() + line / out_height * op.height * op.width * op.channels;
        float* out = dst() + line * out_width * op.channels;
        const float lower = float(row.high_weight);
        for (const ResizeTap& column : op.columns) {
          const auto at = [&](std::int64_t iy, std::int64_t ix) {
            return std::int32_t((iy * op.width + ix) * op.channels);
          };
          const float right = float(column.high_weight);
          const std::int32_t offsets[] = {at(row.low, column.low), at(row.low, column.high),
                                          at(row.high, column.low), at(row.high, column.high)};
          const float factors[] = {(1 - lower) * (1 - right), (1 - lower) * right, lower * (1 - right),
                                   lower * right};
          kernels.weighted_sum(x, offsets, factors, 4, out, op.channels);
          out += op.channels;
        }
      }
    });
  }
};

namespace {

/// Floats: of each thread for itself, or of all of them together.
std::int64_t scratch_of(const Program& program, std::int64_t batch, int threads) {
  std::int64_t size = program.scratch_size * threads;
  for (const Step& step : program.steps) {
    if (const auto* conv = std::get_if<WinogradConv>(&step.op))
      size = std::max(size, winograd_scratch(*conv, batch));
    if (const auto* norm = std::get_if<NormalizeImage>(&step.op))
      size = std::max(size, normalization_scratch(*norm));
  }
  return size;
}

}  // namespace

Executor::Executor(const Program& program, std::int64_t batch, int threads)
    : program_(program),
      batch_(batch),
      pool_(threads),
      arena_(program.arena_size * batch),
      scratch_(scratch_of(program, batch, threads)) {
  require(batch > 0, "executor", "a batch of ", batch);
}

Tensor Executor::run(const Tensor& x, const std::function<void(std::size_t)>& after_step) {
  check_batch(x, program_.input_shape, batch_, "executor");
  Run run{program_, *program_.kernels, pool_,   arena_.data(), scratch_.data(),
          x.dim(0), x.data(),          nullptr, batch_};
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    run.step = &program_.steps[i];
    std::visit(run, run.step->op);
    if (after_step) after_step(i);
  }
  Tensor y = Tensor::uninitialized({x.dim(0), program_.outputs});
  std::copy_n(run.buffer(program_.steps.back().dst), y.size(), y.data());
  return y;
}

}  // namespace qhv
