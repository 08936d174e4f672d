// Quantisers that are not uniform (quantizer.h), in two planes of bytes:
//
//   real = unit * (low + 2^shift * high)
//
// Products with such codes are two products with bytes, of which one is shifted. The two ranges of a twin
// quantiser are the planes themselves; a logarithmic one has its powers as 16-bit numbers, 2^15 the largest,
// in two halves: smaller ones than 2^-16 of it are zero.
//
// Ranges that meet at zero, as PTQ4ViT's behind SiLU, clip each other's values to zero: their planes are two
// encodings like any others, which every step can store. Softmax has ranges that meet elsewhere; it is here
// in plain C++, since only published baselines have such codes, for which speed is of no interest.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "quant/integer/encoding.h"
#include "quant/quantizer.h"

namespace qhv {

struct PlanedSoftmax {
  /// Probabilities from begin / 2^30 up to where the next one begins.
  struct Interval {
    std::uint32_t begin = 0;
    std::uint8_t low = 0, high = 0;
  };
  std::array<std::uint32_t, 256> exponents = {};  // 2^30 exp(-scale * d)
  std::vector<Interval> intervals = {};           // in ascending order, the first one from 0
  int shift = 0;
  double unit = 1;
};

/// For logits of `scale` and a twin or logarithmic quantiser of probabilities. Throws std::invalid_argument,
/// naming `where`, for other quantisers, for twin ranges that do not meet between 0 and 1, and for those
/// whose steps are not a power of two apart.
PlanedSoftmax planed_softmax(const Quantizer& quantizer, double scale, const std::string& where);

/// Of a row of `count` codes of logits.
void softmax_planes(const PlanedSoftmax& s, const std::uint8_t* codes, std::int64_t count, std::uint8_t* low,
                    std::uint8_t* high);

/// The low and the high plane of a twin quantiser whose ranges meet at zero. Throws std::invalid_argument,
/// naming `where`, for those that meet elsewhere, and for steps that are not a power of two apart.
std::array<Encoding, 2> twin_encodings(const TwinUniform& q, std::int64_t columns, const std::string& where);

/// sums[i] += high[i] * 2^shift
void add_plane(const std::int32_t* high, std::int64_t count, int shift, std::int32_t* sums);

/// n for a ratio of 2^n, n from 0 to 16. Throws std::invalid_argument, naming `where`, for others.
int plane_shift(double ratio, const std::string& where);

}  // namespace qhv
