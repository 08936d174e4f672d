#include "quant/integer/engine.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "nn/shapes.h"
#include "quant/integer/attend_codes.h"
#include "quant/integer/products.h"
#include "quant/integer/round_up.h"
#include "quant/integer/store.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

constexpr std::int64_t kBlockSums = 8192;  // of a block: they stay in the cache until they are stored
constexpr std::int64_t kTile = 8;
constexpr std::int64_t kFewRows = 32;  // of which products take no less time than reading the weights
constexpr std::int64_t kStretch = 64;  // rows of which moments are added up

/// Rows of a block of `columns` sums.
std::int64_t block_rows(std::int64_t columns) {
  return std::max<std::int64_t>(kFewRows, kBlockSums / columns / kTile * kTile);
}

/// Bytes of scratch memory for blocks of sums, [rows][stride], and storing them.
std::int64_t block_scratch(std::int64_t rows, std::int64_t stride) {
  return aligned_bytes(rows * stride * 4) + kSlack + store_scratch(rows * stride);
}

/// Stretches of rows whose moments a step that normalises images as a whole needs.
std::int64_t stretches(const NormalizeCodes& op) {
  return op.by_row ? 0 : (op.rows + kStretch - 1) / kStretch;
}

/// The codes of a row of one channel, `stride` apart.
QHV_VECTORIZE void quantize_pixels(const real* x, std::int64_t count, real scale, std::int32_t zero,
                                   std::int32_t lo, std::int32_t hi, std::uint8_t* dst, std::int64_t stride) {
  constexpr std::int64_t kPart = 64;
  std::int32_t codes[kPart];
  for (std::int64_t first = 0; first < count; first += kPart) {
    const std::int64_t size = std::min(kPart, count - first);
    for (std::int64_t i = 0; i < size; ++i)
      codes[i] = std::int32_t(nearest_code(x[first + i], scale, real(lo - zero), real(hi - zero))) + zero;
    for (std::int64_t i = 0; i < size; ++i) dst[(first + i) * stride] = std::uint8_t(codes[i]);
  }
}

struct ScratchSize {
  std::int64_t operator()(const LoadCodes&) const { return 0; }
  std::int64_t operator()(const PadCodes&) const { return 0; }
  std::int64_t operator()(const MultiplyCodes& op) const {
    return block_scratch(block_rows(sums_stride(op)), sums_stride(op));
  }
  std::int64_t operator()(const AttendCodes& op) const { return attend_scratch(op); }
  std::int64_t operator()(const SeparableAttendCodes& op) const { return attend_separably_scratch(op); }
  template <typename ByChannels>
  std::int64_t operator()(const ByChannels& op) const {
    return block_scratch(block_rows(op.channels), op.channels);
  }
};

}  // namespace

/// One evaluation: a visitor of the steps' first halves.
struct IntegerEngine::Run {
  const IntegerKernels& kernels;
  ThreadPool& pool;
  const std::vector<std::vector<std::int64_t>>& places;
  std::uint8_t *arena, *scratch;
  std::int64_t scratch_size;
  Moments* moments;
  Normalizer* normalizers;
  std::int64_t batch;
  const real* input;
  const IntegerStep* step = nullptr;

  ImageMemory memory(std::int64_t image) const { return {arena, places[std::size_t(image)].data()}; }
  template <typename Code = std::uint8_t>
  const Code* src(std::int64_t image, std::size_t plane = 0) const {
    return memory(image).at<Code>(step->src[plane]);
  }

  /// Sums of one thread's block, and what storing them needs: until then there is room for as many sums of a
  /// high plane.
  struct Block {
    std::int32_t* sums;
    std::uint8_t* for_store;
  };
  Block block(int thread, std::int64_t rows, std::int64_t stride) const {
    assert(store_scratch(rows * stride) >= rows * stride * 4);
    std::uint8_t* mine = scratch + thread * scratch_size;
    return {reinterpret_cast<std::int32_t*>(mine), mine + aligned_bytes(rows * stride * 4) + kSlack};
  }

  /// compute(image, first row, count, sums) for blocks of rows, and stores each. Behind its sums is room for
  /// those of a high plane.
  template <typename Compute>
  void by_blocks(std::int64_t rows, std::int64_t stride, Compute compute) const {
    // A thread has four blocks or more, if they have enough rows, and at least one if there are as many rows.
    const std::int64_t most = block_rows(stride), share = rows * batch / pool.threads(),
                       least = std::clamp(share, kTile, kFewRows),
                       size = std::clamp(round_up(share / 4, kTile), least, most),
                       blocks = (rows + size - 1) / size;
    pool.run(batch * blocks, [&](std::int64_t item, int thread) {
      const std::int64_t image = item / blocks, first = item % blocks * size,
                         count = std::min(size, rows - first);
      const Block b = block(thread, most, stride);
      compute(image, first, count, b.sums);
      store_block(step->store, kernels, memory(image),
                  {.sums = b.sums,
                   .stride = stride,
                   .rows = count,
                   .first_row = first,
                   .columns = step->store.columns},
                  b.for_store);
    });
  }

  void operator()(const LoadCodes& op) const {
    const std::int64_t width = op.width + 2 * op.pad, height = op.height + 2 * op.pad,
                       area = op.height * op.width;
    pool.run(batch * height, [&](std::int64_t item, int) {
      const std::int64_t image = item / height, y = item % height - op.pad;
      const bool inside = y >= 0 && y < op.height;
      std::uint8_t* row =
          memory(image).at<std::uint8_t>(step->store.outputs[0].buffer) + item % height * width * op.channels;
      for (std::int64_t c = 0; c < op.channels; ++c) {
        const auto i = std::size_t(c);
        const std::int32_t zero = op.encoding.zero[i];
        std::uint8_t* out = row + c;
        const auto border = [&](std::int64_t pixels) {
          for (std::int64_t x = 0; x < pixels; ++x, out += op.channels) *out = std::uint8_t(zero);
        };
        border(inside ? op.pad : width);
        if (!inside) continue;
        quantize_pixels(input + (image * op.channels + c) * area + y * op.width, op.width,
                        real(op.encoding.scale[i]), zero, op.encoding.lo[i], op.encoding.hi[i], out,
                        op.channels);
        out += op.width * op.channels;
        border(op.pad);
      }
    });
  }

  void operator()(const PadCodes& op) const {
    const std::int64_t width = (op.width + 2 * op.pad) * op.channels, height = op.height + 2 * op.pad;
    const auto border = [&](std::uint8_t* out, std::int64_t pixels) {
      for (std::int64_t i = 0; i < pixels; ++i) out = std::copy_n(op.zero.data(), op.channels, out);
      return out;
    };
    pool.run(batch * height, [&](std::int64_t item, int) {
      const std::int64_t image = item / height, row = item % height, y = row - op.pad;
      std::uint8_t* out = memory(image).at<std::uint8_t>(step->store.outputs[0].buffer) + row * width;
      if (y < 0 || y >= op.height) {
        border(out, op.width + 2 * op.pad);
        return;
      }
      out = border(out, op.pad);
      out = std::copy_n(src(image) + y * op.width * op.channels, op.width * op.channels, out);
      border(out, op.pad);
    });
  }

  void operator()(const MultiplyCodes& op) const {
    const std::int64_t stride = sums_stride(op);
    by_blocks(op.rows, stride,
              [&](std::int64_t image, std::int64_t first, std::int64_t count, std::int32_t* sums) {
                sum_rows(kernels, op, src(image), first, count, sums);
                if (!op.high_shift) return;
                std::int32_t* high = sums + count * stride;
                sum_rows(kernels, op, src(image, 1), first, count, high);
                add_plane(high, count * stride, *op.high_shift, sums);
              });
  }

  void operator()(const DepthwiseCodes& op) const {
    const std::int64_t most = block_rows(op.channels);
    pool.run(batch * op.out_height, [&](std::int64_t item, int thread) {
      const std::int64_t image = item / op.out_height, y = item % op.out_height;
      const Block b = block(thread, most, op.channels);
      for (std::int64_t x = 0; x < op.out_width; x += most) {
        const std::int64_t count = std::min(most, op.out_width - x);
        kernels.depthwise(depthwise_task(op, src(image)), y, x, x + count, b.sums);
        if (op.high_shift) {
          std::int32_t* high = b.sums + count * op.channels;
          kernels.depthwise(depthwise_task(op, src(image, 1), 1), y, x, x + count, high);
          add_plane(high, count * op.channels, *op.high_shift, b.sums);
        }
        store_block(step->store, kernels, memory(image),
                    {.sums = b.sums,
                     .stride = op.channels,
                     .rows = count,
                     .first_row = y * op.out_width + x,
                     .columns = op.channels},
                    b.for_store);
      }
    });
  }

  /// Of images as a whole, from stretches of fixed size: integers, in any order.
  void find_normalizers(const NormalizeCodes& op) const {
    const std::int64_t count = stretches(op);
    pool.run(batch * count, [&](std::int64_t item, int) {
      const std::int64_t first = item % count * kStretch, rows = std::min(kStretch, op.rows - first);
      Moments& m = moments[item];
      m = {};
      kernels.moments(src<std::int16_t>(item / count) + first * op.channels, rows * op.channels, &m.sum,
                      &m.squares);
    });
    for (std::int64_t image = 0; image < batch; ++image) {
      Moments all;
      for (std::int64_t i = image * count; i < (image + 1) * count; ++i) {
        all.sum += moments[i].sum;
        all.squares += moments[i].squares;
      }
      normalizers[image] = normalizer(all, op.rows * op.channels, op.eps);
    }
  }

  void operator()(const NormalizeCodes& op) const {
    if (!op.by_row) find_normalizers(op);
    by_blocks(op.rows, op.channels,
              [&](std::int64_t image, std::int64_t first, std::int64_t count, std::int32_t* sums) {
                for (std::int64_t row = first; row < first + count; ++row, sums += op.channels) {
                  const std::int16_t* x = src<std::int16_t>(image) + row * op.channels;
                  Normalizer n = normalizers[image];
                  if (op.by_row) {
                    Moments of_row;
                    kernels.moments(x, op.channels, &of_row.sum, &of_row.squares);
                    n = normalizer(of_row, op.channels, op.eps);
                  }
                  kernels.normalize(x, op.channels, n.mean, n.inverse, n.shift, sums);
                }
              });
  }

  void operator()(const AttendCodes& op) const {
    pool.run(batch * op.in.positions * op.heads, [&](std::int64_t item, int thread) {
      const std::int64_t head = item % op.heads, position = item / op.heads % op.in.positions,
                         image = item / op.heads / op.in.positions;
      attend_head(op, step->store, kernels, memory(image), src(image),
                  op.in.rows.data() + position * op.in.tokens, head, scratch + thread * scratch_size);
    });
  }

  void operator()(const SeparableAttendCodes& op) const {
    pool.run(batch * op.in.positions, [&](std::int64_t item, int thread) {
      const std::int64_t image = item / op.in.positions, position = item % op.in.positions;
      attend_position(op, step->store, kernels, memory(image), src(image),
                      op.in.rows.data() + position * op.in.tokens, scratch + thread * scratch_size);
    });
  }

  void operator()(const PoolCodes& op) const {
    pool.run(batch, [&](std::int64_t image, int thread) {
      const Block b = block(thread, block_rows(op.channels), op.channels);
      const std::int32_t* zeros = b.sums + op.channels;  // the block's second row: only the first has sums
      std::fill_n(b.sums, 2 * op.channels, 0);
      for (std::int64_t row = 0; row < op.rows; ++row)
        kernels.add_multiple(src(image) + row * op.channels, zeros, op.channels, 1, b.sums);
      store_block(step->store, kernels, memory(image),
                  {.sums = b.sums, .stride = op.channels, .rows = 1, .columns = op.channels}, b.for_store);
    });
  }

  void operator()(const ResizeCodes& op) const {
    const std::int64_t width = std::ssize(op.columns), row_size = op.width * op.channels;
    by_blocks(std::ssize(op.rows) * width, op.channels,
              [&](std::int64_t image, std::int64_t first, std::int64_t count, std::int32_t* sums) {
                for (std::int64_t i = first; i < first + count; ++i, sums += op.channels) {
                  const ResizeCodes::Tap &row = op.rows[std::size_t(i / width)],
                                         &column = op.columns[std::size_t(i % width)];
                  const std::int16_t *low = src<std::int16_t>(image) + row.low * row_size,
                                     *high = src<std::int16_t>(image) + row.high * row_size;
                  resize_pixel(low + column.low * op.channels, low + column.high * op.channels,
                               high + column.low * op.channels, high + column.high * op.channels,
                               row.high_weight, column.high_weight, op.channels, sums);
                }
              });
  }

  /// Weights of 2^12 in both directions, sums rounded to 2^-7, ties up.
  static void resize_pixel(const std::int16_t* a, const std::int16_t* b, const std::int16_t* c,
                           const std::int16_t* d, std::int32_t lower, std::int32_t right,
                           std::int64_t channels, std::int32_t* sums) {
    constexpr std::int32_t kOne = 1 << 12;
    constexpr int kShift = 24 - 7;
    for (std::int64_t i = 0; i < channels; ++i) {
      const std::int64_t upper = a[i] * (kOne - right) + b[i] * right,
                         below = c[i] * (kOne - right) + d[i] * right;
      sums[i] = std::int32_t((upper * (kOne - lower) + below * lower + (std::int64_t{1} << (kShift - 1))) >>
                             kShift);
    }
  }

  void operator()(const CopyCodes& op) const {
    by_blocks(op.rows, op.channels,
              [&](std::int64_t image, std::int64_t first, std::int64_t count, std::int32_t* sums) {
                const std::int64_t begin = first * op.channels, size = count * op.channels;
                if (op.type == CodeType::kU8)
                  std::copy_n(src(image) + begin, size, sums);
                else
                  std::copy_n(src<std::int16_t>(image) + begin, size, sums);
              });
  }
};

IntegerEngine::IntegerEngine(const IntegerProgram& program, std::int64_t batch, int threads,
                             const IntegerKernels& kernels)
    : program_(program), kernels_(kernels), batch_(batch), pool_(threads), scratch_size_(0) {
  require(batch > 0, "integer engine", "a batch of ", batch);
  std::int64_t most_stretches = 0;
  for (const IntegerStep& step : program.steps) {
    scratch_size_ = std::max(scratch_size_, aligned_bytes(std::visit(ScratchSize{}, step.op)));
    if (const auto* op = std::get_if<NormalizeCodes>(&step.op))
      most_stretches = std::max(most_stretches, stretches(*op));
  }
  moments_.resize(std::size_t(batch * most_stretches));
  normalizers_.resize(std::size_t(batch));
  arena_ = Aligned<std::uint8_t>(program.arena_size * batch);
  scratch_ = Aligned<std::uint8_t>(scratch_size_ * threads);
  for (std::int64_t image = 0; image < batch; ++image) {
    places_.emplace_back();
    for (const Buffer& buffer : program.buffers)
      places_.back().push_back(image * program.arena_size + buffer.offset);
  }
}

TensorI32 IntegerEngine::run(const Tensor& x, const std::function<void(std::size_t)>& after_step) {
  check_batch(x, program_.input_shape, batch_, "integer engine");
  Run run{kernels_,        pool_,         places_,         arena_.data(),
          scratch_.data(), scratch_size_, moments_.data(), normalizers_.data(),
          x.dim(0),        x.data()};
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    run.step = &program_.steps[i];
    std::visit(run, run.step->op);
    if (after_step) after_step(i);
  }
  TensorI32 logits = TensorI32::uninitialized({x.dim(0), program_.outputs});
  const int buffer = program_.steps.back().store.outputs[0].buffer;
  for (std::int64_t image = 0; image < x.dim(0); ++image)
    std::copy_n(run.memory(image).at<std::int32_t>(buffer), program_.outputs,
                logits.data() + image * program_.outputs);
  return logits;
}

TensorI32 IntegerEngine::codes(const Form& form) const {
  const ImageMemory memory{const_cast<std::uint8_t*>(arena_.data()), places_[0].data()};
  const std::int64_t columns = form.encoding.columns();
  TensorI32 result = TensorI32::uninitialized({form.rows, columns});
  for (std::int64_t i = 0; i < result.size(); ++i) {
    const std::int64_t at = i / columns * form.stride + form.column + i % columns;
    if (form.encoding.type == CodeType::kU8)
      result[i] = memory.at<std::uint8_t>(form.buffer)[at];
    else if (form.encoding.type == CodeType::kI16)
      result[i] = memory.at<std::int16_t>(form.buffer)[at];
    else
      result[i] = memory.at<std::int32_t>(form.buffer)[at];
  }
  return result;
}

}  // namespace qhv
