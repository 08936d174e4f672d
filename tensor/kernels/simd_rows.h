// A part of simd.h: what works on rows of channels one by one.
#pragma once

#include "tensor/kernels/simd_vector.h"

void silu(const float* src, float* dst, std::int64_t count) {
  for_vectors(count, [&](std::int64_t i, auto get, auto put) { put(dst + i, silu_of(get(src + i))); });
}

void add(const float* a, const float* b, float* dst, std::int64_t count) {
  for_vectors(count, [&](std::int64_t i, auto get, auto put) { put(dst + i, get(a + i) + get(b + i)); });
}

/// Sum of term(x) over src: in four vectors for stretches of 1024 elements, which are added up in double.
template <typename Term>
inline double sum_terms(const float* src, std::int64_t count, Term term) {
  constexpr std::int64_t kStretch = 1024, kStep = 4 * kLanes;
  double total = 0;
  std::int64_t i = 0;
  while (i + kStep <= count) {
    Vector sums[4] = {};
    const std::int64_t end = i + kStretch < count ? i + kStretch : count;
    for (; i + kStep <= end; i += kStep)
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) sums[k] += term(load(src + i + k * kLanes));
    total += double(sum_of((sums[0] + sums[1]) + (sums[2] + sums[3])));
  }
  for (; i < count; ++i) total += double(term(broadcast(src[i]))[0]);
  return total;
}

/// The same for one row of channels, in float.
template <typename Term>
inline float sum_row(const float* src, std::int64_t count, Term term) {
  Vector sums[2] = {};
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    sums[0] += term(load(src + i));
    sums[1] += term(load(src + i + kLanes));
  }
  if (i + kLanes <= count) {
    sums[0] += term(load(src + i));
    i += kLanes;
  }
  float total = sum_of(sums[0] + sums[1]);
  for (; i < count; ++i) total += term(broadcast(src[i]))[0];
  return total;
}

double sum(const float* src, std::int64_t count) {
  return sum_terms(src, count, [](Vector x) { return x; });
}

double sum_of_squares(const float* src, float mean, std::int64_t count) {
  return sum_terms(src, count, [mean](Vector x) { return (x - mean) * (x - mean); });
}

void scale_shift(const float* src, float* dst, std::int64_t rows, std::int64_t channels, const float* scale,
                 const float* shift) {
  for (std::int64_t row = 0; row < rows; ++row, src += channels, dst += channels)
    for_vectors(channels, [&](std::int64_t c, auto get, auto put) {
      put(dst + c, get(src + c) * get(scale + c) + get(shift + c));
    });
}

void layer_norm(const float* src, float* dst, std::int64_t rows, std::int64_t channels, const float* weight,
                const float* bias, float eps) {
  for (std::int64_t row = 0; row < rows; ++row, src += channels, dst += channels) {
    const float mean = sum_row(src, channels, [](Vector x) { return x; }) / float(channels);
    const float variance =
        sum_row(src, channels, [mean](Vector x) { return (x - mean) * (x - mean); }) / float(channels);
    const float factor = 1.0f / __builtin_sqrtf(variance + eps);
    for_vectors(channels, [&](std::int64_t c, auto get, auto put) {
      put(dst + c, (get(src + c) - mean) * factor * get(weight + c) + get(bias + c));
    });
  }
}

/// exp((x - largest) scale), given scale / ln 2 and largest * scale / ln 2: as a power of two, for whose
/// exponent t 2^-24 |t| is near enough, for what t loses, 2^t makes small. It is at least 2^-126; NaN stays
/// NaN.
inline Vector softmax_term(Vector x, Vector factor, Vector offset) {
  const Vector t = larger(broadcast(-126.0f), x * factor - offset), shifted = t + kShift;
  return power_of_two(shifted, t - (shifted - kShift));
}

constexpr float kLowest = -3.402823466e38f;

void softmax_columns(float* values, std::int64_t rows, std::int64_t width, float scale, float* factors) {
  const Vector factor = broadcast(scale * kInvLn2);
  for (std::int64_t c = 0; c < width; c += kLanes) {
    float* column = values + c;
    Vector largest[2] = {broadcast(kLowest), broadcast(kLowest)}, sums[2] = {};
    std::int64_t r = 0;
    for (; r + 2 <= rows; r += 2) {
      largest[0] = larger(largest[0], load(column + r * width));
      largest[1] = larger(largest[1], load(column + (r + 1) * width));
    }
    if (r < rows) largest[0] = larger(largest[0], load(column + r * width));
    const Vector offset = larger(largest[0], largest[1]) * factor;
    const auto put = [&](std::int64_t r, Vector& total) {
      const Vector e = softmax_term(load(column + r * width), factor, offset);
      total += e;
      store(column + r * width, e);
    };
    for (r = 0; r + 2 <= rows; r += 2) {
      put(r, sums[0]);
      put(r + 1, sums[1]);
    }
    if (r < rows) put(r, sums[0]);
    store(factors + c, 1.0f / (sums[0] + sums[1]));
  }
}

void transpose(const float* src, const std::int32_t* offsets, std::int64_t rows, std::int64_t columns,
               float* dst, std::int64_t stride) {
  std::int64_t row = 0;
  for (; row + kLanes <= rows; row += kLanes, offsets += kLanes) {
    std::int64_t c = 0;
    for (; c + kLanes <= columns; c += kLanes) {
      Vector block[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) block[i] = load(src + offsets[i] + c);
      exchange_rows(block);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(dst + (c + i) * stride + row, block[i]);
    }
    for (; c < columns; ++c)
      for (int i = 0; i < kLanes; ++i) dst[c * stride + row + i] = src[offsets[i] + c];
  }
  for (; row < rows; ++row, ++offsets)
    for (std::int64_t c = 0; c < columns; ++c) dst[c * stride + row] = src[*offsets + c];
}

/// Vector kPart of three that hold pixels of three channels side by side.
template <int kPart, int... kLane>
inline Vector interleaved(Vector a, Vector b, Vector c, std::integer_sequence<int, kLane...>) {
  const auto pixel = [](int lane) { return (kPart * kLanes + lane) / 3; };
  const auto channel = [](int lane) { return (kPart * kLanes + lane) % 3; };
  const Vector ab = __builtin_shufflevector(a, b, (pixel(kLane) + (channel(kLane) == 1 ? kLanes : 0))...);
  return __builtin_shufflevector(ab, c, (channel(kLane) == 2 ? kLanes + pixel(kLane) : kLane)...);
}

void interleave3(const float* src, std::int64_t plane, std::int64_t count, float* dst) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
  std::int64_t x = 0;
  for (; x + kLanes <= count; x += kLanes) {
    const Vector a = load(src + x), b = load(src + plane + x), c = load(src + 2 * plane + x);
    store(dst + 3 * x, interleaved<0>(a, b, c, lanes));
    store(dst + 3 * x + kLanes, interleaved<1>(a, b, c, lanes));
    store(dst + 3 * x + 2 * kLanes, interleaved<2>(a, b, c, lanes));
  }
  for (; x < count; ++x)
    for (std::int64_t c = 0; c < 3; ++c) dst[3 * x + c] = src[c * plane + x];
}

/// Up to a vector's length of columns and of rows; what is loaded beyond the columns is not stored.
inline void scatter_block(const float* src, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                          const float* factors, const std::int32_t* offsets, float* dst) {
  const bool whole = columns == kLanes;
  const Vector factor = whole ? load(factors) : load_part(factors, columns);
  Vector block[kLanes];
#pragma GCC unroll 16
  for (int r = 0; r < kLanes; ++r) {
    const float* row = src + (r < rows ? r : 0) * stride;
    block[r] = (whole ? load(row) : load_part(row, columns)) * factor;
  }
  exchange_rows(block);
  for (int c = 0; c < columns; ++c) {
    if (rows == kLanes)
      store(dst + offsets[c], block[c]);
    else
      store_part(dst + offsets[c], block[c], rows);
  }
}

void scatter_columns(const float* src, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                     const float* factors, const std::int32_t* offsets, float* dst) {
  for (std::int64_t c = 0; c < columns; c += kLanes) {
    const std::int64_t width = columns - c < kLanes ? columns - c : kLanes;
    for (std::int64_t r = 0; r < rows; r += kLanes) {
      const std::int64_t height = rows - r < kLanes ? rows - r : kLanes;
      scatter_block(src + r * stride + c, stride, height, width, factors + c, offsets + c, dst + r);
    }
  }
}

/// Columns of one panel in a row, and zeros behind them up to a whole vector.
inline void pack_row(const float* src, std::int64_t columns, float* dst) {
  std::int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) store(dst + c, load(src + c));
  if (c < columns) store(dst + c, load_part(src + c, columns - c));
}

void pack(const float* src, std::int64_t stride, std::int64_t rows, std::int64_t columns, std::int64_t width,
          float* dst) {
  const std::int64_t last = (columns - 1) / width * width, left = columns - last,
                     last_width = (left + kLanes - 1) / kLanes * kLanes;
  for (std::int64_t row = 0; row < rows; ++row, src += stride) {
    for (std::int64_t start = 0; start < last; start += width)
      pack_row(src + start, width, dst + start * rows + row * width);
    pack_row(src + last, left, dst + last * rows + row * last_width);
  }
}

void weighted_sum(const float* src, const std::int32_t* offsets, const float* factors, std::int64_t count,
                  float* dst, std::int64_t channels) {
  std::int64_t c = 0;
  for (; c + 4 * kLanes <= channels; c += 4 * kLanes) {
    Vector sums[4] = {};
    for (std::int64_t n = 0; n < count; ++n)
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) sums[k] += factors[n] * load(src + offsets[n] + c + k * kLanes);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) store(dst + c + k * kLanes, sums[k]);
  }
  for_vectors(channels - c, [&](std::int64_t i, auto get, auto put) {
    Vector sums{};
    for (std::int64_t n = 0; n < count; ++n) sums += factors[n] * get(src + offsets[n] + c + i);
    put(dst + c + i, sums);
  });
}

void gate(const float* src, const float* factors, float* dst, std::int64_t channels) {
  for_vectors(channels, [&](std::int64_t c, auto get, auto put) {
    const Vector x = get(src + c);
    put(dst + c, larger(Vector{}, x) * get(factors + c));
  });
}

float multiply_adds(std::int64_t rounds) {
  Vector chains[kMultiplyAddChains];
  for (int i = 0; i < kMultiplyAddChains; ++i) chains[i] = broadcast(float(i));
  // No chain begins where it would stay, at 1/2: compilers notice, and leave such a one out.
  const Vector factor = broadcast(0.5f), addend = broadcast(0.25f);
  for (std::int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 16
    for (int i = 0; i < kMultiplyAddChains; ++i) chains[i] = chains[i] * factor + addend;
  Vector sum{};
  for (int i = 0; i < kMultiplyAddChains; ++i) sum += chains[i];
  return sum_of(sum);
}
