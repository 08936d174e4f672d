// A labelled set of images that needs no files: each is a pure function of (seed, index), in integers, with
// the same pixels on every machine.
//
// An image shows one large figure in front of others. Its class is the pair of the figure's shape (7) and its
// texture (3); position, size, turn, colours and everything else are random. Around it lie smaller figures
// with shapes and textures of their own, so that it takes both the outline and the inside of the largest one
// to tell the class; light, blur and noise lie over all. kDifficulty says how much of each.
//
// Names, wherever a folder or a file is expected:
//   synthetic:SPLIT[:COUNT]   a set: train (21000 images), calib (512), val (2100) or test (2100)
//   synthetic:SPLIT#INDEX     an image of it; the image at an index does not depend on COUNT
//
// The class of an image is its index modulo 21: any COUNT holds equal shares, up to rounding.
// Errors: std::runtime_error that begins with the name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/image.h"

namespace qhv {

inline constexpr int kSyntheticSide = 128;  // pixels
inline constexpr std::int64_t kMaxSyntheticCount = 10'000'000;

/// Ranges of what is random in an image: from the first to the second value, both included.
struct Interval {
  int low, high;
};

struct Difficulty {
  Interval radius{26, 48};             // of the object, pixels
  Interval period{9, 16};              // of textures, pixels
  Interval texture_contrast{100, 400};  // between the object's two colours, summed over red, green, blue
  Interval ground_contrast{90, 450};   // between their mean and the background
  Interval stretch{218, 300};          // 256 is none
  Interval shear{-40, 40};             // of 256
  Interval relief{0, 40};              // unevenness of the background, levels of 255
  Interval clutter{2, 6};              // smaller figures
  Interval clutter_size{20, 40};       // their radius, percent of the object's
  int bar_percent = 30;                // images with a bar across the object
  Interval light{0, 80};               // how much darker or lighter the borders are, of 256
  Interval blur{0, 2};                 // radius of the box, pixels
  Interval noise{0, 16};               // standard deviation, levels of 255
};
inline constexpr Difficulty kDifficulty;

/// "00_disc_stripes", "01_disc_checker", ...: class = 3 * shape + texture.
const std::vector<std::string>& synthetic_classes();

int synthetic_label(std::uint64_t index);

Image render_synthetic(std::uint64_t seed, std::uint64_t index);

/// The image called synthetic:SPLIT#INDEX.
Image render_synthetic(const std::string& name);

/// Whether a name is of one of the two kinds above, well formed or not.
bool is_synthetic(std::string_view name);

struct SyntheticSet {
  std::string split;
  std::uint64_t seed;
  std::int64_t count;
};

SyntheticSet parse_synthetic_set(const std::string& spec);

/// "synthetic:SPLIT#INDEX"
std::string synthetic_name(const std::string& split, std::int64_t index);

}  // namespace qhv
