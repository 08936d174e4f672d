// A part of simd.h: the transforms around the products of Winograd convolutions (winograd.h). Lines of six
// belong to the points 0, a, -a, b, -b and infinity, a^2 being 1/2 and b^2 being 2.
#pragma once

#include "tensor/kernels/simd_vector.h"

constexpr float kSmallPoint = 0.707106781f, kLargePoint = 1.41421356f;

/// B^T d for six elements kStep apart, in place. A row of B^T is the polynomial that is 0 at all other
/// points: (x^2 - 1/2) (x^2 - 2) = x^4 - 5/2 x^2 + 1 at 0, x (x + a) (x^2 - 2) at a; x times the first at
/// infinity.
template <int kStep>
inline void transform_window_line(Vector* d) {
  Vector &d0 = d[0], &d1 = d[kStep], &d2 = d[2 * kStep], &d3 = d[3 * kStep], &d4 = d[4 * kStep],
         &d5 = d[5 * kStep];
  const Vector even_small = d4 - d2 * 2.0f, odd_small = d3 - d1 * 2.0f;
  const Vector even_large = d4 - d2 * 0.5f, odd_large = d3 - d1 * 0.5f;
  d0 = (d0 + d4) - d2 * 2.5f;
  d5 = (d1 + d5) - d3 * 2.5f;
  d1 = even_small + odd_small * kSmallPoint;
  d2 = even_small - odd_small * kSmallPoint;
  d3 = even_large + odd_large * kLargePoint;
  d4 = even_large - odd_large * kLargePoint;
}

/// A^T m of six elements: sums of m_p p^i for i = 0 .. 3, the last one with that at infinity.
inline void transform_product_line(const Vector (&m)[6], Vector (&y)[4]) {
  const Vector small_sum = m[1] + m[2], large_sum = m[3] + m[4];
  const Vector small_odd = (m[1] - m[2]) * kSmallPoint, large_odd = (m[3] - m[4]) * kLargePoint;
  y[0] = m[0] + small_sum + large_sum;
  y[1] = small_odd + large_odd;
  y[2] = small_sum * 0.5f + large_sum * 2.0f;
  y[3] = small_odd * 0.5f + (large_odd * 2.0f + m[5]);
}

/// Its adjoint, A y.
inline void spread_line(const Vector (&y)[4], Vector (&m)[6]) {
  const Vector even_small = y[0] + y[2] * 0.5f, odd_small = (y[1] + y[3] * 0.5f) * kSmallPoint;
  const Vector even_large = y[0] + y[2] * 2.0f, odd_large = (y[1] + y[3] * 2.0f) * kLargePoint;
  m[0] = y[0];
  m[1] = even_small + odd_small;
  m[2] = even_small - odd_small;
  m[3] = even_large + odd_large;
  m[4] = even_large - odd_large;
  m[5] = y[3];
}

/// Where a tile is, and how much of it the map has.
struct WinogradTile {
  std::int64_t map, top, left;  // the map's first pixel among all, and the tile's in the map
  int height, width;            // 1 to 4

  WinogradTile(const WinogradTiles& t, std::int64_t index) {
    const std::int64_t across = (t.width + 3) / 4, tiles = (t.height + 3) / 4 * across;
    map = index / tiles * t.height * t.width;
    top = index % tiles / across * 4;
    left = index % across * 4;
    height = t.height - top < 4 ? int(t.height - top) : 4;
    width = t.width - left < 4 ? int(t.width - left) : 4;
  }
  std::int64_t pixel(const WinogradTiles& t) const { return map + top * t.width + left; }
};

void winograd_scatter(const WinogradTiles& t, const float* maps, float* dst) {
  for (std::int64_t index = t.begin; index < t.end; ++index, dst += t.channels) {
    const WinogradTile tile(t, index);
    const float* window[36];  // null outside of the map
    for (std::int64_t i = 0; i < 36; ++i) {
      const std::int64_t y = tile.top + i / 6 - 1, x = tile.left + i % 6 - 1;
      const bool inside = y >= 0 && y < t.height && x >= 0 && x < t.width;
      window[i] = inside ? maps + (tile.map + y * t.width + x) * t.channels : nullptr;
    }
    for_vectors(t.channels, [&](std::int64_t c, auto get, auto put) {
      Vector d[36];
#pragma GCC unroll 6
      for (int x = 0; x < 6; ++x) {
#pragma GCC unroll 6
        for (int i = x; i < 36; i += 6) d[i] = window[i] ? get(window[i] + c) : Vector{};
        transform_window_line<6>(d + x);
      }
#pragma GCC unroll 6
      for (int y = 0; y < 36; y += 6) {
        transform_window_line<1>(d + y);
#pragma GCC unroll 6
        for (int i = y; i < y + 6; ++i) put(dst + i * t.plane + c, d[i]);
      }
    });
  }
}

void winograd_gather(const WinogradTiles& t, const float* products, const float* bias, Activation activation,
                     float* maps) {
  for (std::int64_t index = t.begin; index < t.end; ++index, products += t.channels) {
    const WinogradTile tile(t, index);
    float* out = maps + tile.pixel(t) * t.channels;
    for_vectors(t.channels, [&](std::int64_t c, auto get, auto put) {
      Vector rows[4][6];
#pragma GCC unroll 6
      for (int x = 0; x < 6; ++x) {
        Vector m[6], column[4];
#pragma GCC unroll 6
        for (int y = 0; y < 6; ++y) m[y] = get(products + (6 * y + x) * t.plane + c);
        transform_product_line(m, column);
#pragma GCC unroll 4
        for (int y = 0; y < 4; ++y) rows[y][x] = column[y];
      }
      const Vector b = get(bias + c);
      for (int y = 0; y < tile.height; ++y) {
        Vector row[4];
        transform_product_line(rows[y], row);
        float* first = out + y * t.width * t.channels + c;
#pragma GCC unroll 4
        for (int x = 0; x < 4; ++x) {
          row[x] += b;
          if (activation == Activation::kSilu) row[x] = silu_of(row[x]);
          if (x < tile.width) put(first + x * t.channels, row[x]);
        }
      }
    });
  }
}

void winograd_gather_backward(const WinogradTiles& t, const float* maps, float* dst) {
  for (std::int64_t index = t.begin; index < t.end; ++index, dst += t.channels) {
    const WinogradTile tile(t, index);
    const float* first = maps + tile.pixel(t) * t.channels;
    for_vectors(t.channels, [&](std::int64_t c, auto get, auto put) {
      Vector columns[6][4];
#pragma GCC unroll 4
      for (int x = 0; x < 4; ++x) {
        Vector y[4], m[6];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
          y[i] =
              x < tile.width && i < tile.height ? get(first + (i * t.width + x) * t.channels + c) : Vector{};
        spread_line(y, m);
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) columns[i][x] = m[i];
      }
#pragma GCC unroll 6
      for (int y = 0; y < 6; ++y) {
        Vector m[6];
        spread_line(columns[y], m);
#pragma GCC unroll 6
        for (int x = 0; x < 6; ++x) put(dst + (6 * y + x) * t.plane + c, m[x]);
      }
    });
  }
}
