// The kernels of kernels.h in vectors of kLanes floats, in the vector extension of GCC and Clang. Included
// once by the file of each instruction set, which defines, in an anonymous namespace before it: kLanes,
// kMaxVectors, and kTileRows, the rows of a product's tile by its width in vectors, such that the sums fit
// the registers.
//
// Nothing here may use templates or inline functions of other headers: the linker would keep one copy of them
// for all, and it might be one that this CPU cannot execute.

using Vector [[gnu::vector_size(kLanes * 4), gnu::may_alias]] = float;
using Integers [[gnu::vector_size(kLanes * 4), gnu::may_alias]] = std::int32_t;
using Unaligned [[gnu::vector_size(kLanes * 4), gnu::aligned(4), gnu::may_alias]] = float;

inline Vector load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Unaligned*>(p) = v; }
inline Vector broadcast(float x) { return x - Vector{}; }

/// The larger and the smaller of two; NaN of `b` stays. Compilers do not find these instructions by
/// themselves.
inline Vector larger(Vector a, Vector b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
inline Vector smaller(Vector a, Vector b) {
#if defined(__AVX512F__)
  return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

constexpr float kInvLn2 = 1.44269502f, kInvLn2Low = 1.92596299e-8f;

/// round(t) for |t| below 2^22.
inline Vector rounded(Vector t) {
#if defined(__AVX512F__)
  return _mm512_roundscale_ps(t, 0);
#else
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it leaves an integer in the low bits
  return (t + kShift) - kShift;
#endif
}

/// 2^n 2^f for integers n from -126 to 127 and f in [-0.5, 0.5]: 2^f by the polynomial of degree 6 that
/// equals it at the Chebyshev points, to 3e-9.
inline Vector power_of_two(Vector n, Vector f) {
  Vector p = broadcast(0.000154614447f);
  p = p * f + 0.00134004282f;
  p = p * f + 0.00961805668f;
  p = p * f + 0.0555032723f;
  p = p * f + 0.240226509f;
  p = p * f + 0.693147207f;
  p = p * f + 1.0f;
#if defined(__AVX512F__)
  return _mm512_scalef_ps(p, n);
#else
  const Integers exponent = (__builtin_convertvector(n, Integers) + 127) << 23;
  return p * reinterpret_cast<const Vector&>(exponent);
#endif
}

/// With x / ln 2 = n + f, 1 / ln 2 in two parts so that f is exact for large x. Clamped as exp_real (exp.h);
/// NaN stays NaN.
inline Vector exp_of(Vector x) {
  x = smaller(broadcast(88.0f), larger(broadcast(-87.0f), x));
  const Vector n = rounded(x * kInvLn2);
  return power_of_two(n, (x * kInvLn2 - n) + x * kInvLn2Low);
}

/// 1 / x, for x from 1 to what exp_of reaches.
inline Vector reciprocal(Vector x) {
#if defined(__AVX512F__)
  const Vector y = _mm512_rcp14_ps(x);
  return y * (2.0f - x * y);  // a step of Newton's: an error of 2^-14 becomes one of 2^-28
#else
  return 1.0f / x;
#endif
}

/// x / (1 + exp(-x))
inline Vector silu_of(Vector x) { return x * reciprocal(1.0f + exp_of(-x)); }

template <int kStep, int... kLane>
inline Vector swap_lanes(Vector v, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(v, v, (kLane ^ kStep)...);
}

/// Transposes a block of kLanes x kLanes in log2(kLanes) rounds of exchanges between rows.
template <int kStep, int... kLane>
inline void exchange(Vector& a, Vector& b, std::integer_sequence<int, kLane...>) {
  const Vector low = __builtin_shufflevector(a, b, ((kLane & kStep) ? kLanes + kLane - kStep : kLane)...);
  b = __builtin_shufflevector(a, b, ((kLane & kStep) ? kLanes + kLane : kLane + kStep)...);
  a = low;
}
template <int kStep = 1>
inline void exchange_rows(Vector (&v)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if (!(i & kStep)) exchange<kStep>(v[i], v[i + kStep], std::make_integer_sequence<int, kLanes>());
  if constexpr (2 * kStep < kLanes) exchange_rows<2 * kStep>(v);
}

/// Joins the lanes in a tree: halves first, then quarters, ...
template <int kStep = kLanes / 2, typename Operation>
inline float join_lanes(Vector v, Operation operation) {
  v = operation(v, swap_lanes<kStep>(v, std::make_integer_sequence<int, kLanes>()));
  if constexpr (kStep > 1)
    return join_lanes<kStep / 2>(v, operation);
  else
    return v[0];
}

inline float sum_of(Vector v) {
  return join_lanes(v, [](Vector a, Vector b) { return a + b; });
}
/// The first `count` elements of p, zeros behind.
inline Vector load_part(const float* p, std::int64_t count) {
  Vector v{};
  for (std::int64_t i = 0; i < count; ++i) v[i] = p[i];
  return v;
}
inline void store_part(float* p, Vector v, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) p[i] = v[i];
}

/// Calls body(first, load, store) for stretches of a vector's length of `count` elements, the last one maybe
/// partial.
template <typename Body>
inline void for_vectors(std::int64_t count, Body body) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    body(
        i, [](const float* p) { return load(p); }, [](float* p, Vector v) { store(p, v); });
  if (const std::int64_t left = count - i; left > 0)
    body(
        i, [left](const float* p) { return load_part(p, left); },
        [left](float* p, Vector v) { store_part(p, v, left); });
}

/// Where the rows of a tile are: one pointer for three rows that are `stride` apart, so that all of them fit
/// registers, or one for each row.
template <int kRows, bool kStrided>
struct TileRows {
  static constexpr int kGroup = kStrided ? 3 : 1, kPointers = (kRows + kGroup - 1) / kGroup;
  const float* pointers[kPointers];
  std::int64_t stride;

  TileRows(const GemmTask& t, std::int64_t row) : stride(t.src_stride) {
#pragma GCC unroll 16
    for (int i = 0; i < kPointers; ++i)
      pointers[i] = t.src + (kStrided ? (row + i * kGroup) * stride : std::int64_t(t.src_rows[row + i]));
  }
  float operator[](int i) const { return pointers[i / kGroup][i % kGroup * stride]; }
  void advance(std::int64_t count) {
#pragma GCC unroll 16
    for (int i = 0; i < kPointers; ++i) pointers[i] += count;
  }
};

template <int kRows, int kVectors, bool kStrided>
inline void gemm_tile(const GemmTask& t, const GemmPanel& panel, std::int64_t row) {
  TileRows<kRows, kStrided> src(t, row);
  Vector sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums[i][j] = load(panel.bias + j * kLanes);

  const float* weights = panel.weights;
  for (std::int64_t s = 0; s < t.segments; ++s) {
    for (std::int64_t k = 0; k < t.segment_depth; ++k, weights += kVectors * kLanes) {
      Vector w[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) w[j] = load(weights + j * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const Vector x = broadcast(src[i]);
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) sums[i][j] += x * w[j];
      }
      src.advance(1);
    }
    src.advance(t.segment_stride - t.segment_depth);
  }

  const bool partial = panel.columns < kVectors * kLanes;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float* dst = t.dst + (row + i) * t.dst_stride + panel.start;
    const float* residual = t.residual ? t.residual + (row + i) * t.residual_stride + panel.start : nullptr;
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      Vector y = sums[i][j];
      if (t.activation == Activation::kSilu) y = silu_of(y);
      if (partial) {
        if (residual) y += load_part(residual, panel.columns);
        store_part(dst, y, panel.columns);
      } else {
        if (residual) y += load(residual + j * kLanes);
        store(dst + j * kLanes, y);
      }
    }
  }
}

template <int kVectors, bool kStrided>
void gemm_panel(const GemmTask& t, const GemmPanel& panel, std::int64_t begin, std::int64_t end) {
  constexpr int kRows = kTileRows[kVectors];
  std::int64_t row = begin;
  for (; row + kRows <= end; row += kRows) gemm_tile<kRows, kVectors, kStrided>(t, panel, row);
  if (row == end) return;
  if (end - begin >= kRows) return gemm_tile<kRows, kVectors, kStrided>(t, panel, end - kRows);
  for (; row < end; ++row) gemm_tile<1, kVectors, kStrided>(t, panel, row);
}

template <int kVectors>
void gemm_panel(const GemmTask& t, const GemmPanel& panel, std::int64_t begin, std::int64_t end) {
  if (t.src_rows)
    gemm_panel<kVectors, false>(t, panel, begin, end);
  else
    gemm_panel<kVectors, true>(t, panel, begin, end);
}

void gemm(const GemmTask& t, std::int64_t begin, std::int64_t end) {
  // A block of rows stays in the second-level cache while all panels pass over it. It has whole tiles of any
  // width.
  constexpr std::int64_t kBlockFloats = 32 << 10, kTiles = 24;
  const std::int64_t depth = t.segments * t.segment_depth;
  std::int64_t block = kBlockFloats / (depth > 0 ? depth : 1) / kTiles * kTiles;
  if (block < 2 * kTiles) block = 2 * kTiles;
  for (std::int64_t row = begin; row < end;) {
    std::int64_t next = row + block;
    if (next + kTiles > end) next = end;  // no block of a few rows at the end
    for (int p = 0; p < t.panel_count; ++p) {
      const GemmPanel& panel = t.panels[p];
      if (panel.vectors == 1) gemm_panel<1>(t, panel, row, next);
      if constexpr (kMaxVectors >= 2)
        if (panel.vectors == 2) gemm_panel<2>(t, panel, row, next);
      if constexpr (kMaxVectors >= 3)
        if (panel.vectors == 3) gemm_panel<3>(t, panel, row, next);
      if constexpr (kMaxVectors >= 4)
        if (panel.vectors == 4) gemm_panel<4>(t, panel, row, next);
    }
    row = next;
  }
}

/// One output pixel, any of whose taps may lie outside; channels c .. c + kLanes - 1.
inline Vector depthwise_pixel(const DepthwiseTask& t, std::int64_t y, std::int64_t x, std::int64_t c) {
  Vector sum = load(t.bias + c);
  for (std::int64_t ky = 0; ky < 3; ++ky) {
    const std::int64_t iy = y * t.stride + ky - 1;
    if (iy < 0 || iy >= t.height) continue;
    for (std::int64_t kx = 0; kx < 3; ++kx) {
      const std::int64_t ix = x * t.stride + kx - 1;
      if (ix < 0 || ix >= t.width) continue;
      sum += load(t.src + (iy * t.width + ix) * t.channels + c) *
             load(t.weights + (ky * 3 + kx) * t.channels + c);
    }
  }
  return sum;
}

/// kPixels output pixels from column x on, all of whose taps lie inside. `src` is the first tap of the first
/// one.
template <int kStride, int kPixels>
inline void depthwise_pixels(const float* src, std::int64_t row, std::int64_t channels, const Vector (&w)[9],
                             Vector bias, Vector (&sums)[kPixels]) {
#pragma GCC unroll 4
  for (int i = 0; i < kPixels; ++i) sums[i] = bias;
#pragma GCC unroll 3
  for (int ky = 0; ky < 3; ++ky)
#pragma GCC unroll 9
    for (int column = 0; column < (kPixels - 1) * kStride + 3; ++column) {
      const Vector x = load(src + ky * row + column * channels);
#pragma GCC unroll 4
      for (int i = 0; i < kPixels; ++i) {
        const int kx = column - i * kStride;
        if (kx >= 0 && kx < 3) sums[i] += x * w[ky * 3 + kx];
      }
    }
}

/// One row of the output, channels c .. c + kLanes - 1.
template <int kStride>
inline void depthwise_row(const DepthwiseTask& t, std::int64_t y, std::int64_t c) {
  constexpr int kPixels = kLanes >= 16 ? 4 : 2;
  float* dst = t.dst + y * t.out_width * t.channels + c;
  const auto put = [&](std::int64_t x, Vector v) {
    store(dst + x * t.channels, t.activation == Activation::kSilu ? silu_of(v) : v);
  };
  const bool inside = y * kStride >= 1 && y * kStride + 1 < t.height;
  std::int64_t x = 0;
  if (inside) {
    Vector w[9];
#pragma GCC unroll 9
    for (int k = 0; k < 9; ++k) w[k] = load(t.weights + k * t.channels + c);
    const Vector bias = load(t.bias + c);
    put(x, depthwise_pixel(t, y, x, c));
    for (x = 1; (x + kPixels - 1) * kStride + 1 < t.width && x + kPixels <= t.out_width; x += kPixels) {
      Vector sums[kPixels];
      const float* src = t.src + ((y * kStride - 1) * t.width + x * kStride - 1) * t.channels + c;
      depthwise_pixels<kStride, kPixels>(src, t.width * t.channels, t.channels, w, bias, sums);
#pragma GCC unroll 4
      for (int i = 0; i < kPixels; ++i) put(x + i, sums[i]);
    }
  }
  for (; x < t.out_width; ++x) put(x, depthwise_pixel(t, y, x, c));
}

/// The same for fewer channels than a vector has, one by one.
void depthwise_narrow(const DepthwiseTask& t, std::int64_t y) {
  for (std::int64_t x = 0; x < t.out_width; ++x)
    for (std::int64_t c = 0; c < t.channels; ++c) {
      float sum = t.bias[c];
      for (std::int64_t k = 0; k < 9; ++k) {
        const std::int64_t iy = y * t.stride + k / 3 - 1, ix = x * t.stride + k % 3 - 1;
        if (iy >= 0 && iy < t.height && ix >= 0 && ix < t.width)
          sum += t.src[(iy * t.width + ix) * t.channels + c] * t.weights[k * t.channels + c];
      }
      const Vector v = broadcast(sum);
      t.dst[(y * t.out_width + x) * t.channels + c] = t.activation == Activation::kSilu ? silu_of(v)[0] : sum;
    }
}

void depthwise(const DepthwiseTask& t, std::int64_t begin, std::int64_t end) {
  for (std::int64_t y = begin; y < end; ++y) {
    if (t.channels < kLanes) {
      depthwise_narrow(t, y);
      continue;
    }
    for (std::int64_t c = 0; c < t.channels; c += kLanes) {
      const std::int64_t first = c + kLanes <= t.channels ? c : t.channels - kLanes;  // the last ones overlap
      if (t.stride == 1)
        depthwise_row<1>(t, y, first);
      else
        depthwise_row<2>(t, y, first);
    }
  }
}

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

constexpr FloatKernels table_of(const char* name, bool (*is_supported)()) {
  return {name,    kLanes,    kMaxVectors,  is_supported,   gemm,         depthwise,
          silu,    add,       sum,          sum_of_squares, scale_shift,  layer_norm,
          softmax, transpose, weighted_sum, gate,           multiply_adds};
}
