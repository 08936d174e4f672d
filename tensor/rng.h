// Random numbers as a function of (seed, index): no state, the same on every machine and with any number of
// threads. The mixer is SplitMix64 (Steele, Lea, Flood 2014).
#pragma once

#include <cstdint>
#include <string_view>

namespace qhv {

inline std::uint64_t random_bits(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// Uniform in [0, 1), a multiple of 2^-24: exact in float.
inline double unit_uniform(std::uint64_t seed, std::uint64_t index) {
  return double(random_bits(seed, index) >> 40) / double(1 << 24);
}

/// Uniform in [0, bound) by multiplication; the bias is below bound / 2^32.
inline std::uint64_t random_below(std::uint64_t seed, std::uint64_t index, std::uint32_t bound) {
  return ((random_bits(seed, index) >> 32) * bound) >> 32;
}

/// A seed from a text (FNV-1a, 64 bits).
inline std::uint64_t seed_of(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h;
}

}  // namespace qhv
