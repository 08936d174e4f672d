#include "quant/integer/store.h"

#include <algorithm>
#include <cassert>

#include "quant/integer/round_up.h"

namespace qhv {
namespace {

/// Calls write(destination) with the type of the output's codes.
template <typename Write>
void with_type(CodeType type, std::uint8_t* dst, Write write) {
  if (type == CodeType::kU8) return write(dst);
  if (type == CodeType::kI16) return write(reinterpret_cast<std::int16_t*>(dst));
  return write(reinterpret_cast<std::int32_t*>(dst));
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

}  // namespace

std::int64_t store_scratch(std::int64_t sums) {
  return 2 * aligned_bytes(sums * 4) + aligned_bytes(sums * 2) + aligned_bytes(sums) + kSlack;
}

void store_block(const Store& store, const IntegerKernels& kernels, const ImageMemory& memory,
                 const SumsBlock& block, std::uint8_t* scratch) {
  const std::int64_t count = block.rows * block.columns;
  auto* wide = reinterpret_cast<std::int32_t*>(scratch);  // [rows][columns]
  std::uint8_t* codes = scratch + aligned_bytes(count * 4);
  std::uint8_t* rows_apart = codes + aligned_bytes(count);
  const std::int32_t* sums = block.sums;
  std::int64_t sums_stride = block.stride;

  if (store.has_silu) {
    kernels.requantize_u8(store.inner->task(block.column), sums, sums_stride, block.rows, block.columns,
                          codes, block.columns);
  } else if (store.inner) {
    kernels.requantize_i32(store.inner->task(block.column), sums, sums_stride, block.rows, block.columns,
                           wide, block.columns);
    sums = wide;
    sums_stride = block.columns;
  }

  const std::int16_t* addend = nullptr;
  std::int64_t addend_stride = store.columns;
  if (store.addend >= 0) {
    addend = memory.at<std::int16_t>(store.addend) + block.column;
    if (!block.row_indices) {
      addend += block.first_row * store.columns;
    } else {
      auto* gathered = reinterpret_cast<std::int16_t*>(rows_apart + aligned_bytes(count * 4));
      for (std::int64_t i = 0; i < block.rows; ++i)
        std::copy_n(addend + block.row_indices[i] * store.columns, block.columns,
                    gathered + i * block.columns);
      addend = gathered;
      addend_stride = block.columns;
    }
  }
  for (const Output& output : store.outputs) {
    const std::int64_t size = code_size(output.type);
    std::uint8_t* buffer = memory.at<std::uint8_t>(output.buffer) + (output.column + block.column) * size;
    // Rows that are anywhere are made side by side first.
    const bool apart = block.row_indices;
    std::uint8_t* dst = apart ? rows_apart : buffer + block.first_row * output.stride * size;
    const Writer writer{kernels, block.rows, block.columns, apart ? block.columns : output.stride};
    with_type(output.type, dst, [&](auto* to) {
      if (output.table) return writer.look_up(*output.table, codes, block.columns, to);
      const RequantizeTask task = output.to_codes.task(block.column);
      if (store.has_silu)
        return kernels.rescale_table(task, store.silu.data(), codes, block.columns, block.rows, block.columns,
                                     dst, writer.stride);
      if (store.addend < 0) return writer.requantize(task, sums, sums_stride, to);
      writer.add(task, output.addend_multiplier.data() + block.column, sums, sums_stride, addend,
                 addend_stride, to);
    });
    for (std::int64_t i = 0; apart && i < block.rows; ++i)
      std::copy_n(rows_apart + i * block.columns * size, block.columns * size,
                  buffer + block.row_indices[i] * output.stride * size);
  }
}

}  // namespace qhv
