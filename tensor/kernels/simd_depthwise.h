// A part of simd.h: depthwise convolutions, a vector of channels at a time along a row of the output.
#pragma once

#include "tensor/kernels/simd_vector.h"

/// The three rows of the source that row y of the output reads; null outside of the map.
struct TapRows {
  const float* rows[3];

  TapRows(const DepthwiseTask& t, std::int64_t y) {
    for (std::int64_t ky = 0; ky < 3; ++ky) {
      const std::int64_t iy = y * t.stride + ky - 1;
      rows[ky] = iy >= 0 && iy < t.height ? t.src + iy % t.src_period * t.width * t.channels : nullptr;
    }
  }
  bool inside() const { return rows[0] && rows[2]; }
};

/// One output pixel, any of whose taps may lie outside; channels c .. c + kLanes - 1.
inline Vector depthwise_pixel(const DepthwiseTask& t, const TapRows& src, std::int64_t x, std::int64_t c) {
  Vector sum = load(t.bias + c);
  for (std::int64_t ky = 0; ky < 3; ++ky) {
    if (!src.rows[ky]) continue;
    for (std::int64_t kx = 0; kx < 3; ++kx) {
      const std::int64_t ix = x * t.stride + kx - 1;
      if (ix < 0 || ix >= t.width) continue;
      sum += load(src.rows[ky] + ix * t.channels + c) * load(t.weights + (ky * 3 + kx) * t.channels + c);
    }
  }
  return sum;
}

/// kPixels output pixels, all of whose taps lie inside, the first one `first` floats behind the rows' starts.
template <int kStride, int kPixels>
inline void depthwise_pixels(const TapRows& src, std::int64_t first, std::int64_t channels,
                             const Vector (&w)[9], Vector bias, Vector (&sums)[kPixels]) {
#pragma GCC unroll 4
  for (int i = 0; i < kPixels; ++i) sums[i] = bias;
#pragma GCC unroll 3
  for (int ky = 0; ky < 3; ++ky)
#pragma GCC unroll 9
    for (int column = 0; column < (kPixels - 1) * kStride + 3; ++column) {
      const Vector x = load(src.rows[ky] + first + column * channels);
#pragma GCC unroll 4
      for (int i = 0; i < kPixels; ++i) {
        const int kx = column - i * kStride;
        if (kx >= 0 && kx < 3) sums[i] += x * w[ky * 3 + kx];
      }
    }
}

/// One row of the output, channels c .. c + kLanes - 1; `dst` is its first pixel.
template <int kStride>
inline void depthwise_row(const DepthwiseTask& t, const TapRows& src, float* dst, std::int64_t c) {
  constexpr int kPixels = kLanes >= 16 ? 4 : 2;
  const auto put = [&](std::int64_t x, Vector v) {
    store(dst + x * t.channels + c, t.activation == Activation::kSilu ? silu_of(v) : v);
  };
  std::int64_t x = 0;
  if (src.inside()) {
    Vector w[9];
#pragma GCC unroll 9
    for (int k = 0; k < 9; ++k) w[k] = load(t.weights + k * t.channels + c);
    const Vector bias = load(t.bias + c);
    put(x, depthwise_pixel(t, src, x, c));
    for (x = 1; (x + kPixels - 1) * kStride + 1 < t.width && x + kPixels <= t.out_width; x += kPixels) {
      Vector sums[kPixels];
      depthwise_pixels<kStride, kPixels>(src, (x * kStride - 1) * t.channels + c, t.channels, w, bias, sums);
#pragma GCC unroll 4
      for (int i = 0; i < kPixels; ++i) put(x + i, sums[i]);
    }
  }
  for (; x < t.out_width; ++x) put(x, depthwise_pixel(t, src, x, c));
}

/// The same for fewer channels than a vector has, one by one.
inline void depthwise_narrow(const DepthwiseTask& t, const TapRows& src, float* dst) {
  for (std::int64_t x = 0; x < t.out_width; ++x)
    for (std::int64_t c = 0; c < t.channels; ++c) {
      float sum = t.bias[c];
      for (std::int64_t k = 0; k < 9; ++k) {
        const float* row = src.rows[k / 3];
        const std::int64_t ix = x * t.stride + k % 3 - 1;
        if (row && ix >= 0 && ix < t.width) sum += row[ix * t.channels + c] * t.weights[k * t.channels + c];
      }
      const Vector v = broadcast(sum);
      dst[x * t.channels + c] = t.activation == Activation::kSilu ? silu_of(v)[0] : sum;
    }
}

void depthwise(const DepthwiseTask& t, std::int64_t begin, std::int64_t end) {
  float* dst = t.dst;
  for (std::int64_t y = begin; y < end; ++y, dst += t.out_width * t.channels) {
    const TapRows src(t, y);
    if (t.channels < kLanes) {
      depthwise_narrow(t, src, dst);
      continue;
    }
    for (std::int64_t c = 0; c < t.channels; c += kLanes) {
      const std::int64_t first = c + kLanes <= t.channels ? c : t.channels - kLanes;  // the last ones overlap
      if (t.stride == 1)
        depthwise_row<1>(t, src, dst, first);
      else
        depthwise_row<2>(t, src, dst, first);
    }
  }
}
