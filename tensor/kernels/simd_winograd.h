// A part of simd.h: the transforms around the products of Winograd convolutions (WinogradTiles of kernels.h).
#pragma once

#include "tensor/kernels/simd_vector.h"

/// B^T d B, B^T being [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1].
inline void transform_window(const Vector (&d)[16], Vector (&v)[16]) {
  Vector rows[16];
#pragma GCC unroll 4
  for (int x = 0; x < 4; ++x) {
    rows[x] = d[x] - d[8 + x];
    rows[4 + x] = d[4 + x] + d[8 + x];
    rows[8 + x] = d[8 + x] - d[4 + x];
    rows[12 + x] = d[4 + x] - d[12 + x];
  }
#pragma GCC unroll 4
  for (int y = 0; y < 16; y += 4) {
    v[y] = rows[y] - rows[y + 2];
    v[y + 1] = rows[y + 1] + rows[y + 2];
    v[y + 2] = rows[y + 2] - rows[y + 1];
    v[y + 3] = rows[y + 1] - rows[y + 3];
  }
}

/// A^T m A, A^T being [1 1 1 0; 0 1 -1 -1].
inline void transform_products(const Vector (&m)[16], Vector (&y)[4]) {
  Vector rows[8];
#pragma GCC unroll 4
  for (int x = 0; x < 4; ++x) {
    rows[x] = m[x] + m[4 + x] + m[8 + x];
    rows[4 + x] = m[4 + x] - m[8 + x] - m[12 + x];
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const Vector* row = rows + 4 * i;
    y[2 * i] = row[0] + row[1] + row[2];
    y[2 * i + 1] = row[1] - row[2] - row[3];
  }
}

void winograd_scatter(const WinogradTiles& t, const float* map, float* dst) {
  const std::int64_t across = (t.width + 1) / 2, plane = (t.end - t.begin) * t.channels;
  for (std::int64_t tile = t.begin; tile < t.end; ++tile, dst += t.channels) {
    const std::int64_t top = tile / across * 2 - 1, left = tile % across * 2 - 1;
    const float* window[16];  // null outside of the map
    for (std::int64_t i = 0; i < 16; ++i) {
      const std::int64_t y = top + i / 4, x = left + i % 4;
      const bool inside = y >= 0 && y < t.height && x >= 0 && x < t.width;
      window[i] = inside ? map + (y * t.width + x) * t.channels : nullptr;
    }
    for_vectors(t.channels, [&](std::int64_t c, auto get, auto put) {
      Vector d[16], v[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) d[i] = window[i] ? get(window[i] + c) : Vector{};
      transform_window(d, v);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) put(dst + i * plane + c, v[i]);
    });
  }
}

void winograd_gather(const WinogradTiles& t, const float* products, const float* bias, Activation activation,
                     float* map) {
  const std::int64_t across = (t.width + 1) / 2, plane = (t.end - t.begin) * t.channels;
  for (std::int64_t tile = t.begin; tile < t.end; ++tile, products += t.channels) {
    const std::int64_t top = tile / across * 2, left = tile % across * 2;
    float* out = map + (top * t.width + left) * t.channels;
    const bool below = top + 1 < t.height, beside = left + 1 < t.width;
    for_vectors(t.channels, [&](std::int64_t c, auto get, auto put) {
      Vector m[16], y[4];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) m[i] = get(products + i * plane + c);
      transform_products(m, y);
      const Vector b = get(bias + c);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        y[i] += b;
        if (activation == Activation::kSilu) y[i] = silu_of(y[i]);
      }
      put(out + c, y[0]);
      if (beside) put(out + t.channels + c, y[1]);
      if (below) put(out + t.width * t.channels + c, y[2]);
      if (below && beside) put(out + (t.width + 1) * t.channels + c, y[3]);
    });
  }
}

/// Each line of four is (a, a + b, a - b, -b) of two elements.
void winograd_gather_backward(const WinogradTiles& t, const float* map, float* dst) {
  const std::int64_t across = (t.width + 1) / 2, plane = (t.end - t.begin) * t.channels;
  for (std::int64_t tile = t.begin; tile < t.end; ++tile, dst += t.channels) {
    const std::int64_t top = tile / across * 2, left = tile % across * 2;
    const float* first = map + (top * t.width + left) * t.channels;
    const bool below = top + 1 < t.height, beside = left + 1 < t.width;
    for_vectors(t.channels, [&](std::int64_t c, auto get, auto put) {
      const Vector a = get(first + c), b = beside ? get(first + t.channels + c) : Vector{},
                   d = below ? get(first + t.width * t.channels + c) : Vector{},
                   e = below && beside ? get(first + (t.width + 1) * t.channels + c) : Vector{};
      const Vector left_column[4] = {a, a + d, a - d, -d}, right_column[4] = {b, b + e, b - e, -e};
#pragma GCC unroll 4
      for (int y = 0; y < 4; ++y) {
        float* row = dst + 4 * y * plane + c;
        put(row, left_column[y]);
        put(row + plane, left_column[y] + right_column[y]);
        put(row + 2 * plane, left_column[y] - right_column[y]);
        put(row + 3 * plane, -right_column[y]);
      }
    });
  }
}
