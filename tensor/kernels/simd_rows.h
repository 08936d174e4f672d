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
    const float mean = float(sum(src, channels) / double(channels));
    const float variance = float(sum_of_squares(src, mean, channels) / double(channels));
    const float factor = 1.0f / __builtin_sqrtf(variance + eps);
    for_vectors(channels, [&](std::int64_t c, auto get, auto put) {
      put(dst + c, (get(src + c) - mean) * factor * get(weight + c) + get(bias + c));
    });
  }
}

void softmax(float* rows, std::int64_t row_count, std::int64_t count, std::int64_t stride, float scale,
             float* factors) {
  constexpr float kLowest = -3.402823466e38f;
  for (std::int64_t row = 0; row < row_count; ++row, rows += stride) {
    for (std::int64_t i = count; i < stride; ++i) rows[i] = kLowest;
    Vector largest = broadcast(kLowest);
    for (std::int64_t i = 0; i < stride; i += kLanes) largest = larger(largest, load(rows + i));
    // exp((x - maximum) scale) as a power of two, for whose exponent t 2^-24 |t| is near enough: what t
    // loses, 2^t makes small.
    const float factor_of_t = scale * kInvLn2, offset = join_lanes(largest, larger) * factor_of_t;
    Vector sums{};
    for (std::int64_t i = 0; i < stride; i += kLanes) {
      const Vector t = larger(broadcast(-126.0f), load(rows + i) * factor_of_t - offset), n = rounded(t);
      const Vector e = power_of_two(n, t - n);
      sums += e;
      store(rows + i, e);
    }
    // What this makes of the padding, 2^-126, is nothing beside the 1 that the largest element adds.
    const float factor = 1.0f / sum_of(sums);
    if (factors)
      factors[row] = factor;
    else
      for (std::int64_t i = 0; i < stride; i += kLanes) store(rows + i, load(rows + i) * factor);
    for (std::int64_t i = count; i < stride; ++i) rows[i] = 0;
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
  const Vector factor = broadcast(0.5f);
  for (std::int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 16
    for (int i = 0; i < kMultiplyAddChains; ++i) chains[i] = chains[i] * factor + factor;
  Vector sum{};
  for (int i = 0; i < kMultiplyAddChains; ++i) sum += chains[i];
  return sum_of(sum);
}
