// A part of simd.h: what works on maps in planes, and on rows for gradients.
#pragma once

#include "tensor/kernels/simd_vector.h"

void silu_backward(const float* x, float* dx, std::int64_t count) {
  for_vectors(count, [&](std::int64_t i, auto get, auto put) {
    const Vector v = get(x + i), s = 1.0f / (1.0f + exp_of_minus(v));
    put(dx + i, get(dx + i) * (s * (1.0f + v * (1.0f - s))));
  });
}

void softmax_rows(const float* src, float* dst, std::int64_t rows, std::int64_t width) {
  for (std::int64_t row = 0; row < rows; ++row, src += width, dst += width) {
    Vector largest = broadcast(src[0]);
    std::int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) largest = larger(largest, load(src + i));
    float maximum = join_lanes(largest, larger);
    for (; i < width; ++i) maximum = src[i] > maximum ? src[i] : maximum;
    Vector sums{};
    for (i = 0; i + kLanes <= width; i += kLanes) {
      const Vector e = exp_of_minus(maximum - load(src + i));
      sums += e;
      store(dst + i, e);
    }
    float sum = sum_of(sums);
    if (const std::int64_t left = width - i; left > 0) {
      const Vector e = exp_of_minus(maximum - load_part(src + i, left));
      store_part(dst + i, e, left);
      for (std::int64_t lane = 0; lane < left; ++lane) sum += e[lane];
    }
    const float share = 1.0f / sum;
    for_vectors(width, [&](std::int64_t c, auto get, auto put) { put(dst + c, get(dst + c) * share); });
  }
}

void softmax_backward(const float* dy, const float* y, float* dx, std::int64_t rows, std::int64_t width) {
  for (std::int64_t row = 0; row < rows; ++row, dy += width, y += width, dx += width) {
    Vector sums{};
    for_vectors(width, [&](std::int64_t i, auto get, auto) { sums += get(dy + i) * get(y + i); });
    const float average = sum_of(sums);
    for_vectors(width, [&](std::int64_t i, auto get, auto put) {
      put(dx + i, get(y + i) * (get(dy + i) - average));
    });
  }
}

/// The mean in two parts: it may be far larger than what x deviates from it.
void gradient_sums(const float* dy, const float* x, double mean, std::int64_t count, double* sum_dy,
                   double* sum_dy_x) {
  constexpr std::int64_t kStretch = 1024;
  const float high = float(mean), low = float(mean - double(high));
  *sum_dy = *sum_dy_x = 0;
  for (std::int64_t start = 0; start < count; start += kStretch) {
    Vector plain{}, weighted{};
    for_vectors(count - start < kStretch ? count - start : kStretch, [&](std::int64_t i, auto get, auto) {
      const Vector gradient = get(dy + start + i);
      plain += gradient;
      weighted += gradient * ((get(x + start + i) - high) - low);
    });
    *sum_dy += double(sum_of(plain));
    *sum_dy_x += double(sum_of(weighted));
  }
}

void copy_rows(const float* src, float* dst, const PlaneRows& rows) {
  for (std::int64_t row = 0; row < rows.count; ++row, src += rows.src_step, dst += rows.dst_step)
    for_vectors(rows.width, [&](std::int64_t i, auto get, auto put) { put(dst + i, get(src + i)); });
}

void add_rows(const float* src, float* dst, const PlaneRows& rows) {
  for (std::int64_t row = 0; row < rows.count; ++row, src += rows.src_step, dst += rows.dst_step)
    for_vectors(rows.width,
                [&](std::int64_t i, auto get, auto put) { put(dst + i, get(dst + i) + get(src + i)); });
}

/// kVectors vectors, whose sums do not wait for each other.
template <int kVectors>
inline void weigh_vectors(const float* src, const Tap<float>* taps, int count, float bias, float* dst) {
  Vector sums[kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) sums[i] = broadcast(bias);
  for (int t = 0; t < count; ++t) {
    const Vector weight = broadcast(taps[t].weight);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) sums[i] += weight * load(src + taps[t].offset + i * kLanes);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) store(dst + i * kLanes, sums[i]);
}

void weigh_taps(const float* src, const Tap<float>* taps, int count, float bias, float* dst,
                const PlaneRows& rows) {
  for (std::int64_t row = 0; row < rows.count; ++row, src += rows.src_step, dst += rows.dst_step) {
    std::int64_t i = 0;
    for (; i + 4 * kLanes <= rows.width; i += 4 * kLanes)
      weigh_vectors<4>(src + i, taps, count, bias, dst + i);
    for (; i + kLanes <= rows.width; i += kLanes) weigh_vectors<1>(src + i, taps, count, bias, dst + i);
    if (const std::int64_t left = rows.width - i; left > 0) {
      Vector sum = broadcast(bias);
      for (int t = 0; t < count; ++t) sum += taps[t].weight * load_part(src + taps[t].offset + i, left);
      store_part(dst + i, sum, left);
    }
  }
}

/// In vectors, which go to the sums in double after a few rows.
template <int kTaps>
void add_products_of(const float* dy, const float* src, const Tap<float>* taps, double* sums,
                     const PlaneRows& rows) {
  constexpr std::int64_t kStretch = 16;
  for (std::int64_t row = 0; row < rows.count;) {
    const std::int64_t end = row + kStretch < rows.count ? row + kStretch : rows.count;
    Vector products[kTaps] = {};
    for (; row < end; ++row, dy += rows.dst_step, src += rows.src_step)
      for_vectors(rows.width, [&](std::int64_t i, auto get, auto) {
        const Vector gradient = get(dy + i);
#pragma GCC unroll 9
        for (int t = 0; t < kTaps; ++t) products[t] += gradient * get(src + taps[t].offset + i);
      });
    for (int t = 0; t < kTaps; ++t) sums[t] += double(sum_of(products[t]));
  }
}

void add_products(const float* dy, const float* src, const Tap<float>* taps, int count, double* sums,
                  const PlaneRows& rows) {
  int t = 0;
  for (; t + 9 <= count; t += 9) add_products_of<9>(dy, src, taps + t, sums + t, rows);
  for (; t < count; ++t) add_products_of<1>(dy, src, taps + t, sums + t, rows);
}
