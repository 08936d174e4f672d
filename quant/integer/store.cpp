#include "quant/integer/store.h"

namespace qhv {
namespace {

/// Stretches of rows that lie behind each other in the result: all, or one at a time.
template <typename Body>
void for_each_stretch(const SumsBlock& block, Body body) {
  if (!block.row_indices) return body(std::int64_t{0}, block.first_row, block.rows);
  for (std::int64_t i = 0; i < block.rows; ++i) body(i, std::int64_t(block.row_indices[i]), std::int64_t{1});
}

/// Calls write(destination of the first row and column) with the type of the output's codes.
template <typename Write>
void with_destination(const Output& output, const ImageMemory& memory, std::int64_t row, std::int64_t column,
                      Write write) {
  const std::int64_t first = row * output.stride + output.column + column;
  if (output.type == CodeType::kU8) return write(memory.at<std::uint8_t>(output.buffer) + first);
  if (output.type == CodeType::kI16) return write(memory.at<std::int16_t>(output.buffer) + first);
  return write(memory.at<std::int32_t>(output.buffer) + first);
}

struct Writer {
  const IntegerKernels& k;
  std::int64_t rows, columns, stride;  // of the destination

  void requantize(const RequantizeTask& t, const std::int32_t* sums, std::int64_t sums_stride,
                  std::uint8_t* dst) const {
    k.requantize_u8(t, sums, sums_stride, rows, columns, dst, stride);
  }
  void requantize(const RequantizeTask& t, const std::int32_t* sums, std::int64_t sums_stride,
                  std::int16_t* dst) const {
    k.requantize_i16(t, sums, sums_stride, rows, columns, dst, stride);
  }
  void requantize(const RequantizeTask& t, const std::int32_t* sums, std::int64_t sums_stride,
                  std::int32_t* dst) const {
    k.requantize_i32(t, sums, sums_stride, rows, columns, dst, stride);
  }

  void add(const RequantizeTask& t, const std::int32_t* multiplier, const std::int32_t* sums,
           std::int64_t sums_stride, const std::int16_t* addend, std::int64_t addend_stride,
           std::uint8_t* dst) const {
    k.add_u8(t, multiplier, sums, sums_stride, addend, addend_stride, rows, columns, dst, stride);
  }
  void add(const RequantizeTask& t, const std::int32_t* multiplier, const std::int32_t* sums,
           std::int64_t sums_stride, const std::int16_t* addend, std::int64_t addend_stride,
           std::int16_t* dst) const {
    k.add_i16(t, multiplier, sums, sums_stride, addend, addend_stride, rows, columns, dst, stride);
  }
  void add(const RequantizeTask&, const std::int32_t*, const std::int32_t*, std::int64_t, const std::int16_t*,
           std::int64_t, std::int32_t*) const {
    assert(false);  // nothing adds to logits
  }

  void look_up(const std::array<std::int16_t, 256>& table, const std::uint8_t* codes,
               std::int64_t codes_stride, std::uint8_t* dst) const {
    k.look_up_u8(table.data(), codes, codes_stride, rows, columns, dst, stride);
  }
  void look_up(const std::array<std::int16_t, 256>& table, const std::uint8_t* codes,
               std::int64_t codes_stride, std::int16_t* dst) const {
    k.look_up_i16(table.data(), codes, codes_stride, rows, columns, dst, stride);
  }
  void look_up(const std::array<std::int16_t, 256>&, const std::uint8_t*, std::int64_t, std::int32_t*) const {
    assert(false);  // no logits behind SiLU
  }
};

std::int64_t aligned_bytes(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

std::int64_t store_scratch(std::int64_t sums) {
  return aligned_bytes(sums * 4) + aligned_bytes(sums) + kSlack;
}

void store_block(const Store& store, const IntegerKernels& kernels, const ImageMemory& memory,
                 const SumsBlock& block, std::uint8_t* scratch) {
  const std::int64_t count = block.rows * block.columns;
  auto* wide = reinterpret_cast<std::int32_t*>(scratch);  // [rows][columns]
  std::uint8_t* codes = scratch + aligned_bytes(count * 4);
  const std::int32_t* sums = block.sums;
  std::int64_t sums_stride = block.stride;

  if (store.has_silu) {
    kernels.requantize_u8(store.inner->task(block.column), sums, sums_stride, block.rows, block.columns,
                          codes, block.columns);
    bool needs_values = false;
    for (const Output& output : store.outputs) needs_values |= !output.table;
    if (needs_values)
      kernels.look_up_i32(store.silu.data(), codes, block.columns, block.rows, block.columns, wide,
                          block.columns);
    sums = wide;
    sums_stride = block.columns;
  } else if (store.inner) {
    kernels.requantize_i32(store.inner->task(block.column), sums, sums_stride, block.rows, block.columns,
                           wide, block.columns);
    sums = wide;
    sums_stride = block.columns;
  }

  for (const Output& output : store.outputs)
    for_each_stretch(block, [&](std::int64_t first, std::int64_t row, std::int64_t rows) {
      const Writer writer{kernels, rows, block.columns, output.stride};
      with_destination(output, memory, row, block.column, [&](auto* dst) {
        if (output.table)
          return writer.look_up(*output.table, codes + first * block.columns, block.columns, dst);
        const RequantizeTask task = output.to_codes.task(block.column);
        const std::int32_t* from = sums + first * sums_stride;
        if (store.addend < 0) return writer.requantize(task, from, sums_stride, dst);
        const std::int16_t* addend =
            memory.at<std::int16_t>(store.addend) + row * store.columns + block.column;
        writer.add(task, output.addend_multiplier.data() + block.column, from, sums_stride, addend,
                   store.columns, dst);
      });
    });
}

}  // namespace qhv
