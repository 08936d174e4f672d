// The figures that synthetic images are made of: a shape, turned, stretched and sheared, filled with a
// texture of two colours or with one colour. Integers only, so that every machine paints the same pixels.
//
//   (u, v) = K^-1 R(-turn) (x - centre) * 1024 / radius,   K = (stretch  shear; 0  1 / stretch)
//
// A point belongs to the figure if (u, v) lies in the shape, whose radius is about 1024. K keeps areas. The
// texture has its own turn and repeats every `period` in both of its directions. Four points of each pixel
// are looked at; that is the antialiasing, of the outline and of the texture.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace qhv {

enum class FigureShape { kDisc, kSquare, kTriangle, kStar, kRing, kCross, kCrescent };
enum class Texture { kStripes, kChecker, kDots, kPlain };
inline constexpr int kShapeCount = 7, kTextureCount = 3;  // kPlain is for what is no object

inline constexpr int kFullTurn = 1024;  // of angles

using Colour = std::array<int, 3>;  // red, green, blue; 0 .. 255, on a canvas 16 times that

struct Canvas {
  int side;
  std::vector<Colour> pixels;  // side * side, row-major
};

struct Figure {
  FigureShape shape = FigureShape::kDisc;
  Texture texture = Texture::kPlain;
  int x = 0, y = 0, radius = 256;  // in 1/256 pixel
  int turn = 0;                    // of the shape
  int stretch = 256, shear = 0;    // in 1/256
  int period = 2048;               // of the texture, in 1/256 pixel
  int texture_turn = 0;
  std::array<std::uint32_t, 2> phase;  // of the texture, 2^24 is a period
  std::array<Colour, 2> colours;       // the first one is that of a plain figure
};

/// Paints over what is there. The figure may reach beyond the canvas.
void paint(Canvas& canvas, const Figure& figure);

/// cos and sin of `turn` / kFullTurn of a circle, times 2^30, good to 1e-7.
std::array<std::int64_t, 2> direction(int turn);

}  // namespace qhv
