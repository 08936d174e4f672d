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

constexpr float kInvLn2 = 1.44269504f;

// Powers of two: 2^t = 2^n 2^f, where n is t rounded to a multiple of 1 / kParts and f the rest. Adding
// kShift rounds so, and leaves the number of parts in the low bits of the sum.
#if defined(__AVX512F__)
constexpr int kParts = 32;
#else
constexpr int kParts = 1;
#endif
constexpr float kShift = 12582912.0f / kParts;  // 1.5 * 2^23 / kParts

/// 2^(n + f), below 2^127, for shifted = n + kShift; what is below 2^-126 becomes some number there. With a
/// table of 32 powers a parabola does for 2^f, to 6e-8; without, the polynomial of degree 6 that equals it at
/// the Chebyshev points, to 3e-9.
inline Vector power_of_two(Vector shifted, Vector f) {
  const Integers parts = reinterpret_cast<const Integers&>(shifted);
#if defined(__AVX512F__)
  const Vector low = {1.0f,        1.0218972f,  1.04427373f, 1.06714046f, 1.09050775f, 1.1143868f,
                      1.13878858f, 1.1637249f,  1.18920708f, 1.21524739f, 1.24185777f, 1.26905096f,
                      1.29683959f, 1.32523668f, 1.35425556f, 1.38390994f};
  const Vector high = {1.41421354f, 1.44518077f, 1.47682619f, 1.50916445f, 1.54221082f, 1.5759809f,
                       1.61049032f, 1.64575553f, 1.68179286f, 1.71861935f, 1.75625217f, 1.79470909f,
                       1.8340081f,  1.87416768f, 1.91520655f, 1.95714414f};
  // Moving the parts to the exponent puts whole ones there and those of the table into the mantissa, from
  // whose bits they are taken off beforehand.
  constexpr Integers kFirst = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Integers selected = reinterpret_cast<Integers>(_mm512_permutex2var_epi32(
      reinterpret_cast<__m512i>(reinterpret_cast<Integers>(low) - (kFirst << 18)),
      reinterpret_cast<__m512i>(parts),
      reinterpret_cast<__m512i>(reinterpret_cast<Integers>(high) - ((kFirst + 16) << 18))));
  const Vector power = reinterpret_cast<Vector>(selected + (parts << 18));
  return power + power * f * (f * 0.2402289f + 0.69315735f);
#else
  Vector p = broadcast(0.000154614447f);
  p = p * f + 0.00134004282f;
  p = p * f + 0.00961805668f;
  p = p * f + 0.0555032723f;
  p = p * f + 0.240226509f;
  p = p * f + 0.693147207f;
  p = p * f + 1.0f;
  return p * reinterpret_cast<Vector>((parts + 127) << 23);
#endif
}

/// exp(-x), x clamped to -88 .. 88; NaN stays NaN.
inline Vector exp_of_minus(Vector x) {
#if defined(__AVX512F__)
  x = _mm512_range_ps(x, broadcast(88.0f), 2);  // the smaller magnitude, with the sign of x
#else
  x = smaller(broadcast(88.0f), larger(broadcast(-88.0f), x));
#endif
  const Vector shifted = x * -kInvLn2 + kShift, n = shifted - kShift;
#if defined(__FMA__)
  return power_of_two(shifted, x * -kInvLn2 - n);
#else
  // -x = (n + f) ln 2, with ln 2 in two parts so that n kLn2High and its sum with x are exact
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  return power_of_two(shifted, ((x + n * kLn2High) + n * kLn2Low) * -kInvLn2);
#endif
}

/// x / (1 + exp(-x))
inline Vector silu_of(Vector x) { return x / (1.0f + exp_of_minus(x)); }

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
