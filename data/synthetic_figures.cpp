#include "data/synthetic_figures.h"

#include <algorithm>
#include <cstdlib>

namespace qhv {
namespace {

/// The circle in kFullTurn steps. Each is the one before, turned by cos and sin of 2 pi / kFullTurn, rounded.
constexpr auto kCircle = [] {
  constexpr std::int64_t kCos = 1073721611, kSin = 6588356, kHalf = 1 << 29;
  std::array<std::array<std::int64_t, 2>, kFullTurn> circle{};
  std::int64_t x = 1 << 30, y = 0;
  for (auto& point : circle) {
    point = {x, y};
    const std::int64_t turned = (x * kCos - y * kSin + kHalf) >> 30;
    y = (x * kSin + y * kCos + kHalf) >> 30;
    x = turned;
  }
  return circle;
}();

/// How many of the half planes nx u + ny v <= 1024 limit hold the point.
template <std::size_t N>
int planes_around(const std::array<std::array<int, 2>, N>& normals, int limit, int u, int v) {
  int count = 0;
  for (const auto& [nx, ny] : normals) count += nx * u + ny * v <= 1024 * limit;
  return count;
}

bool in_shape(FigureShape shape, int u, int v) {
  constexpr std::array<std::array<int, 2>, 3> kTriangle{{{0, 1024}, {-887, -512}, {887, -512}}};
  constexpr std::array<std::array<int, 2>, 5> kStar{
      {{0, 1024}, {-974, 316}, {-602, -828}, {602, -828}, {974, 316}}};
  if (std::max(std::abs(u), std::abs(v)) > 2048) return false;  // far off; squares of these would not fit
  const auto in_disc = [&](int centre, int radius) {
    return (u - centre) * (u - centre) + v * v <= radius * radius;
  };
  switch (shape) {
    case FigureShape::kDisc:
      return in_disc(0, 950);
    case FigureShape::kSquare:
      return std::abs(u) <= 800 && std::abs(v) <= 800;
    case FigureShape::kTriangle:
      return planes_around(kTriangle, 630, u, v) == 3;
    case FigureShape::kStar:
      return planes_around(kStar, 390, u, v) >= 4;  // a tip lies outside of one
    case FigureShape::kRing:
      return in_disc(0, 1024) && !in_disc(0, 500);
    case FigureShape::kCross:
      return std::max(std::abs(u), std::abs(v)) <= 1000 && std::min(std::abs(u), std::abs(v)) <= 340;
    case FigureShape::kCrescent:
      return in_disc(-200, 1024) && !in_disc(330, 800);
  }
  return false;
}

/// Which of the two colours a texture has at (s, t); 2^24 is a period, overflow is welcome.
int texture_at(Texture texture, std::uint32_t s, std::uint32_t t) {
  switch (texture) {
    case Texture::kStripes:
      return (s >> 23) & 1;
    case Texture::kChecker:
      return ((s ^ t) >> 23) & 1;
    case Texture::kDots: {
      const int x = int((s >> 14) & 1023) - 512, y = int((t >> 14) & 1023) - 512;
      return x * x + y * y <= 320 * 320;
    }
    case Texture::kPlain:
      return 0;
  }
  return 0;
}

/// A linear map from pixels / 256.
struct Map {
  std::int64_t xx, xy, yx, yy;
};

Map shape_map(const Figure& f) {
  const auto [c, s] = direction(f.turn);
  const std::int64_t unit = (std::int64_t{1} << 26) / f.radius;  // the result is (u, v) times 2^16
  const std::int64_t cos = unit * c >> 30, sin = unit * s >> 30, shrink = 65536 / f.stretch;
  return {(shrink * cos + f.shear * sin) >> 8, (shrink * sin - f.shear * cos) >> 8, -f.stretch * sin >> 8,
          f.stretch * cos >> 8};
}

Map texture_map(const Figure& f) {
  const auto [c, s] = direction(f.texture_turn);
  const std::int64_t unit = (1 << 24) / f.period;
  const std::int64_t cos = unit * c >> 30, sin = unit * s >> 30;
  return {cos, sin, -sin, cos};
}

/// Half the side of a square around the figure. No shape reaches beyond 1.27 radii.
int reach(const Figure& f) {
  const int longest = std::max(f.stretch, 65536 / f.stretch) + std::abs(f.shear);
  return int(std::int64_t{f.radius} * longest * 325 >> 16);
}

/// What of a pixel's four points the two colours cover.
struct Cover {
  int first = 0, second = 0;
};

Cover cover(const Figure& f, const Map& to_shape, const Map& to_texture, int x, int y) {
  constexpr int kPoints[] = {64, 192};
  Cover result;
  for (const int py : kPoints)
    for (const int px : kPoints) {
      const int dx = 256 * x + px - f.x, dy = 256 * y + py - f.y;
      const int u = int((to_shape.xx * dx + to_shape.xy * dy) >> 16),
                v = int((to_shape.yx * dx + to_shape.yy * dy) >> 16);
      if (!in_shape(f.shape, u, v)) continue;
      const auto s = std::uint32_t(to_texture.xx * dx + to_texture.xy * dy),
                 t = std::uint32_t(to_texture.yx * dx + to_texture.yy * dy);
      ++(texture_at(f.texture, s + f.phase[0], t + f.phase[1]) ? result.second : result.first);
    }
  return result;
}

}  // namespace

std::array<std::int64_t, 2> direction(int turn) { return kCircle[std::size_t(turn) % kFullTurn]; }

void paint(Canvas& canvas, const Figure& f) {
  const Map to_shape = shape_map(f), to_texture = texture_map(f);
  const int half = reach(f), last = canvas.side - 1;
  const int left = std::max(0, (f.x - half) >> 8), right = std::min(last, (f.x + half) >> 8);
  const int top = std::max(0, (f.y - half) >> 8), bottom = std::min(last, (f.y + half) >> 8);
  for (int y = top; y <= bottom; ++y)
    for (int x = left; x <= right; ++x) {
      const Cover c = cover(f, to_shape, to_texture, x, y);
      if (c.first + c.second == 0) continue;
      Colour& pixel = canvas.pixels[std::size_t(y * canvas.side + x)];
      for (std::size_t i = 0; i < 3; ++i)
        pixel[i] = (16 * (c.first * f.colours[0][i] + c.second * f.colours[1][i]) +
                    (4 - c.first - c.second) * pixel[i] + 2) >>
                   2;
    }
}

}  // namespace qhv
