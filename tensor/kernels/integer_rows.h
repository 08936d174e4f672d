// The kernels of integer_kernels.h in plain C++. Included once by the file of each instruction set, inside of
// an anonymous namespace: compilers make vectors of most loops, and what they do not make well that file
// replaces. Integers are exact, so the bits are the same in all of them.
//
// Nothing here may call templates or inline functions of other headers (see simd.h).
#pragma once

#include "tensor/kernels/integer_kernels.h"

/// Where row `row` of a product begins.
inline const std::uint8_t* row_of(const IntegerGemmTask& t, std::int64_t row) {
  return t.src + (t.src_rows ? std::int64_t(t.src_rows[row]) : row * t.src_stride);
}

inline void gemm_plain(const IntegerGemmTask& t, std::int64_t row_begin, std::int64_t row_end) {
  const std::int64_t quads = t.segments * t.segment_quads;
  for (std::int64_t row = row_begin; row < row_end; ++row) {
    const std::uint8_t* src = row_of(t, row);
    std::int32_t* sums = t.sums + (row - row_begin) * t.sums_stride;
    for (std::int64_t panel = 0; panel < t.panels; ++panel, sums += kPanelColumns) {
      const std::int8_t* w = t.weights + panel * quads * kPanelColumns * kQuad;
      for (std::int64_t n = 0; n < kPanelColumns; ++n) sums[n] = 0;
      for (std::int64_t s = 0; s < t.segments; ++s)
        for (std::int64_t q = 0; q < t.segment_quads; ++q, w += kPanelColumns * kQuad) {
          const std::uint8_t* x = src + s * t.segment_stride + q * kQuad;
          for (std::int64_t n = 0; n < kPanelColumns; ++n)
            for (std::int64_t i = 0; i < kQuad; ++i) sums[n] += std::int32_t(x[i]) * w[n * kQuad + i];
        }
    }
  }
}

/// Tap k of a window of the output pixel (y, x).
inline const std::uint8_t* tap_of(const IntegerDepthwiseTask& t, std::int64_t y, std::int64_t x, int k) {
  const std::int64_t iy = y * t.stride + k / 3 - 1, ix = x * t.stride + k % 3 - 1;
  const bool inside = iy >= 0 && iy < t.height && ix >= 0 && ix < t.width;
  return inside ? t.src + (iy * t.width + ix) * t.channels : t.zero;
}

inline void depthwise_plain(const IntegerDepthwiseTask& t, std::int64_t y, std::int64_t x_begin,
                            std::int64_t x_end, std::int32_t* sums) {
  for (std::int64_t x = x_begin; x < x_end; ++x, sums += t.channels) {
    for (std::int64_t c = 0; c < t.channels; ++c) sums[c] = 0;
    for (int k = 0; k < 9; ++k) {
      const std::uint8_t* src = tap_of(t, y, x, k);
      const std::int8_t* w = t.weights + k * t.channels;
      for (std::int64_t c = 0; c < t.channels; ++c)
        sums[c] += std::int32_t(src[c]) * (std::int32_t(w[c]) - (t.weight_zero ? t.weight_zero[c] : 0));
    }
  }
}

inline std::int32_t clip(std::int64_t v, std::int32_t lo, std::int32_t hi) {
  return v < lo ? lo : v > hi ? hi : std::int32_t(v);
}

/// What row terms leave of a sum; the difference wraps as the sum itself would.
inline std::int32_t without_term(const RequantizeTask& t, std::int32_t sum, std::int64_t row) {
  return t.row_terms ? std::int32_t(std::uint32_t(sum) - std::uint32_t(t.row_terms[row])) : sum;
}

inline std::int32_t code_of(const RequantizeTask& t, std::int32_t sum, std::int64_t c) {
  return clip((std::int64_t(sum) * t.multiplier[c] + t.offset[c]) >> t.shift, t.lo[c], t.hi[c]);
}

template <typename Code>
void requantize_plain(const RequantizeTask& t, const std::int32_t* sums, std::int64_t sums_stride,
                      std::int64_t rows, std::int64_t columns, Code* dst, std::int64_t dst_stride) {
  for (std::int64_t row = 0; row < rows; ++row, sums += sums_stride, dst += dst_stride)
    for (std::int64_t c = 0; c < columns; ++c) dst[c] = Code(code_of(t, without_term(t, sums[c], row), c));
}

inline void rescale_table_plain(const RequantizeTask& t, const std::int32_t* table, const std::uint8_t* codes,
                                std::int64_t codes_stride, std::int64_t rows, std::int64_t columns,
                                std::uint8_t* dst, std::int64_t dst_stride) {
  for (std::int64_t row = 0; row < rows; ++row, codes += codes_stride, dst += dst_stride)
    for (std::int64_t c = 0; c < columns; ++c) dst[c] = std::uint8_t(code_of(t, table[codes[c]], c));
}

template <typename Code>
void add_plain(const RequantizeTask& t, const std::int32_t* addend_multiplier, const std::int32_t* sums,
               std::int64_t sums_stride, const std::int16_t* addend, std::int64_t addend_stride,
               std::int64_t rows, std::int64_t columns, Code* dst, std::int64_t dst_stride) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t c = 0; c < columns; ++c)
      dst[c] = Code(clip((std::int64_t(sums[c]) * t.multiplier[c] +
                          std::int64_t(addend[c]) * addend_multiplier[c] + t.offset[c]) >>
                             t.shift,
                         t.lo[c], t.hi[c]));
    sums += sums_stride;
    addend += addend_stride;
    dst += dst_stride;
  }
}

template <typename Code>
void look_up_plain(const std::int16_t* table, const std::uint8_t* codes, std::int64_t codes_stride,
                   std::int64_t rows, std::int64_t columns, Code* dst, std::int64_t dst_stride) {
  for (std::int64_t row = 0; row < rows; ++row, codes += codes_stride, dst += dst_stride)
    for (std::int64_t c = 0; c < columns; ++c) dst[c] = Code(table[codes[c]]);
}

/// Where element (k, column) of a packed matrix of so many quads lies.
inline std::int64_t packed_place(std::int64_t quads, std::int64_t k, std::int64_t column) {
  return ((column / kPanelColumns * quads + k / kQuad) * kPanelColumns + column % kPanelColumns) * kQuad +
         k % kQuad;
}

inline void pack_rows_plain(const std::uint8_t* src, const std::int32_t* offsets, std::int64_t rows,
                            std::int64_t size, std::int8_t* dst, std::int32_t* sums) {
  const std::int64_t quads = (size + kQuad - 1) / kQuad, panels = (rows + kPanelColumns - 1) / kPanelColumns;
  for (std::int64_t i = 0; i < panels * quads * kPanelColumns * kQuad; ++i) dst[i] = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    sums[r] = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int32_t code = std::int32_t(src[offsets[r] + i]) - 128;
      dst[packed_place(quads, i, r)] = std::int8_t(code);
      sums[r] += code;
    }
  }
}

inline void pack_columns_plain(const std::uint8_t* src, const std::int32_t* offsets, std::int64_t rows,
                               std::int64_t size, std::int8_t* dst, std::int32_t* sums) {
  const std::int64_t quads = (rows + kQuad - 1) / kQuad, panels = (size + kPanelColumns - 1) / kPanelColumns;
  for (std::int64_t i = 0; i < panels * quads * kPanelColumns * kQuad; ++i) dst[i] = 0;
  for (std::int64_t i = 0; i < size; ++i) sums[i] = 0;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int32_t code = std::int32_t(src[offsets[r] + i]) - 128;
      dst[packed_place(quads, r, i)] = std::int8_t(code);
      sums[i] += code;
    }
}

inline std::int32_t row_sum_plain(const std::uint8_t* codes, std::int64_t count) {
  std::int32_t sum = 0;
  for (std::int64_t c = 0; c < count; ++c) sum += codes[c];
  return sum;
}

inline void subtract_zeros_plain(std::int32_t* sums, std::int64_t columns, std::int32_t row,
                                 const std::int32_t* factors, const std::int32_t* terms) {
  if (terms)
    for (std::int64_t c = 0; c < columns; ++c) sums[c] -= row * factors[c] + terms[c];
  else
    for (std::int64_t c = 0; c < columns; ++c) sums[c] -= row * factors[c];
}

/// r of SoftmaxTask: factor / 2^shift.
struct SoftmaxFactor {
  std::uint32_t factor;  // below 2^16
  int shift;             // 1 to 31
};

inline SoftmaxFactor softmax_factor(const SoftmaxTask& t, std::uint64_t sum) {
  const std::uint64_t r = (std::uint64_t(t.inverse_scale) << 32) / sum;  // times 2^48; more than 16 bits
  const int excess = 48 - __builtin_clzll(r);
  if (48 - excess > 31) return {0, 31};  // every probability is less than half a code
  return {std::uint32_t(r >> excess), 48 - excess};
}

inline void softmax_row_plain(const SoftmaxTask& t, const std::uint8_t* codes, std::int64_t count,
                              std::uint8_t* dst) {
  std::uint8_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) largest = codes[i] > largest ? codes[i] : largest;
  std::uint64_t sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += t.exponents[largest - codes[i]];
  const SoftmaxFactor r = softmax_factor(t, sum);
  const std::uint32_t half = std::uint32_t{1} << (r.shift - 1);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t p = (t.exponents[largest - codes[i]] * r.factor + half) >> r.shift;
    dst[i] = std::uint8_t(clip(std::int64_t(p) + t.zero, t.lo, t.hi));
  }
}

inline void softmax_plain(const SoftmaxTask& t, const std::uint8_t* codes, std::int64_t codes_stride,
                          std::int64_t rows, std::int64_t columns, std::uint8_t* dst,
                          std::int64_t dst_stride) {
  for (std::int64_t row = 0; row < rows; ++row)
    softmax_row_plain(t, codes + row * codes_stride, columns, dst + row * dst_stride);
}

inline void normalize_plain(const std::int16_t* src, std::int64_t count, std::int32_t mean,
                            std::int32_t inverse, int shift, std::int32_t* dst) {
  const std::int64_t half = std::int64_t{1} << (shift - 1);
  for (std::int64_t c = 0; c < count; ++c)
    dst[c] = std::int32_t((std::int64_t(std::int32_t(src[c]) * 256 - mean) * inverse + half) >> shift);
}

inline void moments_plain(const std::int16_t* src, std::int64_t count, std::int64_t* sum,
                          std::int64_t* squares) {
  std::int64_t s = 0, q = 0;
  for (std::int64_t c = 0; c < count; ++c) {
    s += src[c];
    q += std::int32_t(src[c]) * std::int32_t(src[c]);
  }
  *sum += s;
  *squares += q;
}

inline void add_multiple_plain(const std::uint8_t* codes, const std::int32_t* zero, std::int64_t count,
                               std::int32_t factor, std::int32_t* sums) {
  for (std::int64_t c = 0; c < count; ++c) sums[c] += (std::int32_t(codes[c]) - zero[c]) * factor;
}

inline void multiply_plain(const std::uint8_t* a, const std::int32_t* a_zero, const std::int32_t* b,
                           std::int64_t count, std::int32_t* sums) {
  for (std::int64_t c = 0; c < count; ++c) sums[c] = (std::int32_t(a[c]) - a_zero[c]) * b[c];
}

constexpr IntegerKernels plain_table(const char* name, bool (*is_supported)()) {
  return {.name = name,
          .is_supported = is_supported,
          .gemm = gemm_plain,
          .depthwise = depthwise_plain,
          .requantize_u8 = requantize_plain<std::uint8_t>,
          .requantize_i16 = requantize_plain<std::int16_t>,
          .requantize_i32 = requantize_plain<std::int32_t>,
          .add_u8 = add_plain<std::uint8_t>,
          .add_i16 = add_plain<std::int16_t>,
          .look_up_u8 = look_up_plain<std::uint8_t>,
          .look_up_i16 = look_up_plain<std::int16_t>,
          .rescale_table = rescale_table_plain,
          .softmax = softmax_plain,
          .pack_rows = pack_rows_plain,
          .pack_columns = pack_columns_plain,
          .row_sum = row_sum_plain,
          .subtract_zeros = subtract_zeros_plain,
          .normalize = normalize_plain,
          .moments = moments_plain,
          .add_multiple = add_multiple_plain,
          .multiply = multiply_plain,
          .multiply_adds = nullptr,
          .macs_of_round = 0};
}
