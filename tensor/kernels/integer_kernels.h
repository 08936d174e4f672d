// The kernels behind the integer engine (quant/integer/engine.h): every one is exact, so all tables put out
// the same bits, and the plain one ("ref") is their definition.
//
// Maps and tokens lie channels last, as in kernels.h. What a step computes is first a block of rows of 32-bit
// sums; the codes that readers want are made from it while it is in the cache:
//
//   code = clip((sum * multiplier[c] + offset[c]) >> shift, lo[c], hi[c])        in 64 bits, by column c
//
// which is sum * factor + addend rounded to the nearest integer, ties up (requantization.h makes the
// numbers).
//
// Kernels work on the calling thread. They may read up to kSlack bytes behind a row of codes and kPackedSlack
// behind a packed matrix (but never use them) and nothing else that is not theirs.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace qhv {

inline constexpr std::int64_t kSlack = 64;
inline constexpr std::int64_t kPackedSlack = 960;
inline constexpr std::int64_t kPanelColumns = 16;
inline constexpr std::int64_t kQuad = 4;  // consecutive k whose products are added in one instruction

/// The numbers of a column each; `shift` is of all of them.
struct RequantizeTask {
  const std::int32_t* multiplier = nullptr;
  const std::int64_t* offset = nullptr;
  const std::int32_t* lo = nullptr;
  const std::int32_t* hi = nullptr;
  int shift = 1;                            // up to 32
  const std::int32_t* row_terms = nullptr;  // by row, or null: subtracted from its sums
};

/// sums[m][n] = sum over segments and k of src[m][segment * segment_stride + k] * W[.][n], of unsigned by
/// signed bytes. The weights are packed (packed_int8.h): [panels][quads][16 columns][4], with zeros where a
/// segment is no multiple of 4 and where the last panel has no column.
struct IntegerGemmTask {
  const std::uint8_t* src = nullptr;
  std::int64_t src_stride = 0;             // from row to row,
  const std::int32_t* src_rows = nullptr;  // or, if given, where each row starts
  std::int64_t segments = 1, segment_stride = 0, segment_quads = 0;
  const std::int8_t* weights = nullptr;
  std::int64_t panels = 0;
  std::int32_t* sums = nullptr;  // of row_begin: [row_end - row_begin][sums_stride]
  std::int64_t sums_stride = 0;  // at least 16 * panels
};

/// A row of the output of a 3x3 depthwise convolution with padding 1: sums[x][c] = sum over the nine taps of
/// src * (weight - weight_zero[c]), where zero[c] stands outside of the map.
struct IntegerDepthwiseTask {
  const std::uint8_t* src = nullptr;          // [height, width, channels]
  const std::uint8_t* zero = nullptr;         // [channels]
  const std::int8_t* weights = nullptr;       // [9, channels]
  const std::int32_t* weight_zero = nullptr;  // [channels], or null for none
  std::int64_t height = 0, width = 0, channels = 0, out_width = 0, stride = 1;
};

/// Rows of softmax over codes: e = exponents[largest - code] (exponents[0] is the largest), then
/// clip(round(e * r) + zero, lo, hi), where r is inverse_scale / 2^16 / sum(e) with 16 bits.
struct SoftmaxTask {
  const std::uint16_t* exponents = nullptr;  // [256], up to 2^15 - 1
  std::uint32_t inverse_scale = 0;           // 2^16 to 2^30
  std::int32_t zero = 0, lo = 0, hi = 255;
};

struct IntegerKernels {
  const char* name;
  bool (*is_supported)();  // by this CPU

  void (*gemm)(const IntegerGemmTask&, std::int64_t row_begin, std::int64_t row_end);
  /// Pixels x_begin .. x_end - 1 of output row y; sums is that of x_begin.
  void (*depthwise)(const IntegerDepthwiseTask&, std::int64_t y, std::int64_t x_begin, std::int64_t x_end,
                    std::int32_t* sums);

  // Of rows of `columns` sums or codes, whose rows are `stride` elements apart.

  void (*requantize_u8)(const RequantizeTask&, const std::int32_t* sums, std::int64_t sums_stride,
                        std::int64_t rows, std::int64_t columns, std::uint8_t* dst, std::int64_t dst_stride);
  void (*requantize_i16)(const RequantizeTask&, const std::int32_t* sums, std::int64_t sums_stride,
                         std::int64_t rows, std::int64_t columns, std::int16_t* dst, std::int64_t dst_stride);
  void (*requantize_i32)(const RequantizeTask&, const std::int32_t* sums, std::int64_t sums_stride,
                         std::int64_t rows, std::int64_t columns, std::int32_t* dst, std::int64_t dst_stride);
  /// The same of sums * multiplier + addend * addend_multiplier: of an addition's two operands.
  void (*add_u8)(const RequantizeTask&, const std::int32_t* addend_multiplier, const std::int32_t* sums,
                 std::int64_t sums_stride, const std::int16_t* addend, std::int64_t addend_stride,
                 std::int64_t rows, std::int64_t columns, std::uint8_t* dst, std::int64_t dst_stride);
  void (*add_i16)(const RequantizeTask&, const std::int32_t* addend_multiplier, const std::int32_t* sums,
                  std::int64_t sums_stride, const std::int16_t* addend, std::int64_t addend_stride,
                  std::int64_t rows, std::int64_t columns, std::int16_t* dst, std::int64_t dst_stride);
  /// dst = table[code]; dst is not codes.
  void (*look_up_u8)(const std::int16_t* table, const std::uint8_t* codes, std::int64_t codes_stride,
                     std::int64_t rows, std::int64_t columns, std::uint8_t* dst, std::int64_t dst_stride);
  void (*look_up_i16)(const std::int16_t* table, const std::uint8_t* codes, std::int64_t codes_stride,
                      std::int64_t rows, std::int64_t columns, std::int16_t* dst, std::int64_t dst_stride);
  /// Requantisation of table[code], entries below 2^24 in magnitude.
  void (*rescale_table)(const RequantizeTask&, const std::int32_t* table, const std::uint8_t* codes,
                        std::int64_t codes_stride, std::int64_t rows, std::int64_t columns, std::uint8_t* dst,
                        std::int64_t dst_stride);

  void (*softmax)(const SoftmaxTask&, const std::uint8_t* codes, std::int64_t codes_stride, std::int64_t rows,
                  std::int64_t columns, std::uint8_t* dst, std::int64_t dst_stride);

  /// Rows of codes, `offsets` from src, as the columns of a packed matrix (packed_int8.h) of `size` by `rows`
  /// signed bytes, code - 128, with the sum of each column.
  void (*pack_rows)(const std::uint8_t* src, const std::int32_t* offsets, std::int64_t rows,
                    std::int64_t size, std::int8_t* dst, std::int32_t* sums);
  /// The same as the rows of a packed matrix of `rows` by `size`.
  void (*pack_columns)(const std::uint8_t* src, const std::int32_t* offsets, std::int64_t rows,
                       std::int64_t size, std::int8_t* dst, std::int32_t* sums);

  /// Of a row of codes.
  std::int32_t (*row_sum)(const std::uint8_t* codes, std::int64_t count);
  /// sums[c] -= row * factors[c] + terms[c]; `terms` may be null.
  void (*subtract_zeros)(std::int32_t* sums, std::int64_t columns, std::int32_t row,
                         const std::int32_t* factors, const std::int32_t* terms);
  /// dst[c] = ((src[c] << 8) - mean) * inverse >> shift, ties up: a normalised row
  void (*normalize)(const std::int16_t* src, std::int64_t count, std::int32_t mean, std::int32_t inverse,
                    int shift, std::int32_t* dst);
  /// Adds the sum of the codes and of their squares.
  void (*moments)(const std::int16_t* src, std::int64_t count, std::int64_t* sum, std::int64_t* squares);
  /// sums[c] += (codes[c] - zero[c]) * factor
  void (*add_multiple)(const std::uint8_t* codes, const std::int32_t* zero, std::int64_t count,
                       std::int32_t factor, std::int32_t* sums);
  /// sums[c] = (a[c] - a_zero[c]) * b[c]
  void (*multiply)(const std::uint8_t* a, const std::int32_t* a_zero, const std::int32_t* b,
                   std::int64_t count, std::int32_t* sums);

  /// Independent chains of the instruction that gemm is made of, `macs_of_round` multiply-accumulates in each
  /// round; the result only keeps the compiler from leaving them out. Null where that is not one instruction.
  std::int32_t (*multiply_adds)(std::int64_t rounds);
  double macs_of_round;
};

extern const IntegerKernels kIntegerKernelsAmx, kIntegerKernelsVnni, kIntegerKernelsVnni256,
    kIntegerKernelsAvxVnni, kIntegerKernelsAvx2, kIntegerKernelsRef;

/// The tables of this build, the fastest first.
std::span<const IntegerKernels* const> integer_kernel_tables();

/// The first one that this CPU supports.
const IntegerKernels& best_integer_kernels();

/// Throws std::invalid_argument if there is none of this name, listing the known ones, or if this CPU lacks
/// what it needs.
const IntegerKernels& find_integer_kernels(std::string_view name);

}  // namespace qhv
