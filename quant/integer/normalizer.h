// Mean and standard deviation of 16-bit codes, in integers, as what brings a code to its normalised value:
//
//   (x - mean) / sqrt(variance + eps) = ((256 x - mean) * inverse) >> shift      in units of 2^-16
//
// The mean is rounded to 1/256 of a code; the inverse root has 31 bits.
#pragma once

#include <cstdint>

namespace qhv {

struct Moments {
  std::int64_t sum = 0, squares = 0;
};

struct Normalizer {
  std::int32_t mean = 0;     // in units of 2^-8 codes
  std::int32_t inverse = 0;  // of the root, times 2^shift
  int shift = 1;
};

/// `eps` in units of 2^-16 square codes, at least 1.
Normalizer normalizer(const Moments& moments, std::int64_t count, std::int64_t eps);

/// The largest integer whose square is not above x.
std::uint64_t integer_root(std::uint64_t x);

}  // namespace qhv
