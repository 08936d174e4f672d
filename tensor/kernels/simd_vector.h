// A part of simd.h: vectors, what they lack, and powers.
#pragma once

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

constexpr float kInvLn2 = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;

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

/// With x = (n + f) ln 2, ln 2 in two parts so that n kLn2High and the difference to x are exact, fused or
/// not. Clamped as exp_real (exp.h); NaN stays NaN.
inline Vector exp_of(Vector x) {
  x = smaller(broadcast(88.0f), larger(broadcast(-87.0f), x));
  const Vector n = rounded(x * kInvLn2);
  return power_of_two(n, ((x - n * kLn2High) - n * kLn2Low) * kInvLn2);
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
inline Vector silu_of(Vector x) {
#if defined(__AVX512F__)
  // -x / ln 2 = n + f with n a multiple of 1/16, whose fraction selects one of 16 powers, so that a cubic
  // does for 2^f. 1 / ln 2 is in two parts, so that f is exact for large x.
  constexpr float kInvLn2Low = 1.92596299e-8f;
  constexpr float kShift = 786432.0f;  // 1.5 * 2^19: adding it leaves the sixteenths in the low bits
  const Vector powers = {1.0f,        1.04427378f, 1.09050773f, 1.13878863f, 1.18920712f, 1.24185781f,
                         1.29683955f, 1.35425555f, 1.41421356f, 1.47682615f, 1.54221083f, 1.61049033f,
                         1.68179283f, 1.75625216f, 1.83400809f, 1.91520656f};
  const Vector near = _mm512_range_ps(x, broadcast(88.0f), 2);  // the smaller magnitude, with the sign of x
  const Vector shifted = near * -kInvLn2 + kShift, n = shifted - kShift,
               f = (near * -kInvLn2 - n) - near * kInvLn2Low;
  const Vector power = _mm512_permutexvar_ps(_mm512_castps_si512(shifted), powers);
  const Vector slope = (f * 0.0555041087f + 0.240226507f) * f + 0.693147181f;
  const Vector e = _mm512_scalef_ps(power + power * f * slope, n);
#else
  const Vector e = exp_of(-x);
#endif
  return x * reciprocal(1.0f + e);
}

template <int kStep, int... kLane>
inline Vector swap_lanes(Vector v, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(v, v, (kLane ^ kStep)...);
}

/// Swaps the lanes of a that have the bit kStep with those of b that lack it.
template <int kStep, int... kLane>
inline void exchange(Vector& a, Vector& b, std::integer_sequence<int, kLane...>) {
  const Vector low = __builtin_shufflevector(a, b, ((kLane & kStep) ? kLanes + kLane - kStep : kLane)...);
  b = __builtin_shufflevector(a, b, ((kLane & kStep) ? kLanes + kLane : kLane + kStep)...);
  a = low;
}
/// Transposes a block in log2(kLanes) rounds of exchanges between rows.
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

/// The first `count` elements of p, fewer than a vector has, zeros behind.
inline Vector load_part(const float* p, std::int64_t count) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p);
#else
  Vector v{};
  for (std::int64_t i = 0; i < count; ++i) v[i] = p[i];
  return v;
#endif
}
inline void store_part(float* p, Vector v, std::int64_t count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), v);
#else
  for (std::int64_t i = 0; i < count; ++i) p[i] = v[i];
#endif
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
