// What a synthetic image shows: background, small figures, the object, perhaps a bar across it; then light,
// blur and noise. Colours on the canvas are in 1/16 level.
#include <algorithm>
#include <cstdlib>

#include "data/synthetic.h"
#include "data/synthetic_figures.h"
#include "tensor/rng.h"

namespace qhv {
namespace {

constexpr int kSide = kSyntheticSide;

/// Successive random values. Arguments of a call have no order in C++: what is drawn is named first, or
/// stands in braces, which are evaluated from left to right.
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : seed_(seed) {}

  int below(int bound) { return int(random_below(seed_, next_++, std::uint32_t(bound))); }
  int in(Interval range) { return range.low + below(range.high - range.low + 1); }
  std::uint64_t bits() { return random_bits(seed_, next_++); }
  Colour colour() { return {in({10, 245}), in({10, 245}), in({10, 245})}; }

 private:
  std::uint64_t seed_, next_ = 0;
};

int distance(const Colour& a, const Colour& b) {
  return std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]);
}

bool within(Interval range, int value) { return range.low <= value && value <= range.high; }

/// Two colours as far apart as texture_contrast says, their mean as far from `ground` as ground_contrast
/// says.
std::array<Colour, 2> object_colours(Draws& draws, const Colour& ground) {
  for (;;) {
    const Colour a = draws.colour(), b = draws.colour();
    const Colour mean{(a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2};
    if (within(kDifficulty.texture_contrast, distance(a, b)) &&
        within(kDifficulty.ground_contrast, distance(mean, ground)))
      return {a, b};
  }
}

/// Random but for what `figure` holds already: shape, texture, place, size and colours.
void pose(Draws& draws, Figure& figure) {
  figure.turn = draws.below(kFullTurn);
  figure.stretch = draws.in(kDifficulty.stretch);
  figure.shear = draws.in(kDifficulty.shear);
  figure.period = 256 * kDifficulty.period.low +
                  draws.below(256 * (kDifficulty.period.high - kDifficulty.period.low) + 1);
  figure.texture_turn = draws.below(kFullTurn);
  figure.phase = {std::uint32_t(draws.bits()), std::uint32_t(draws.bits())};
}

/// Value noise: random levels on a grid of `cell` pixels, bilinear in between, added to the canvas.
void add_relief(Draws& draws, Canvas& canvas, int cell, int amplitude) {
  const int points = kSide / cell + 1;
  std::vector<Colour> grid;
  for (int i = 0; i < points * points; ++i) {
    const int grey = draws.in({-amplitude, amplitude});
    grid.push_back({grey + draws.in({-amplitude, amplitude}) / 2,
                    grey + draws.in({-amplitude, amplitude}) / 2,
                    grey + draws.in({-amplitude, amplitude}) / 2});
  }
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) {
      const int fx = x % cell, fy = y % cell;
      const Colour* corner = &grid[std::size_t(y / cell * points + x / cell)];
      Colour& pixel = canvas.pixels[std::size_t(y * kSide + x)];
      for (std::size_t i = 0; i < 3; ++i) {
        const int above = corner[0][i] * (cell - fx) + corner[1][i] * fx;
        const int under = corner[points][i] * (cell - fx) + corner[points + 1][i] * fx;
        pixel[i] += (above * (cell - fy) + under * fy) * 16 / (cell * cell);
      }
    }
}

/// A slope from one border of the canvas to the other, in a random direction: between -amount and amount.
struct Slope {
  int x, y;

  Slope(Draws& draws, int amount) {
    const auto [c, s] = direction(draws.below(kFullTurn));
    x = int(c * amount >> 30);
    y = int(s * amount >> 30);
  }
  int at(int px, int py) const { return (x * (2 * px - kSide) + y * (2 * py - kSide)) / kSide; }
};

Canvas background(Draws& draws, const Colour& ground) {
  Canvas canvas{kSide, {}};
  const Slope slopes[]{{draws, 16 * 30}, {draws, 16 * 30}, {draws, 16 * 30}};
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x)
      canvas.pixels.push_back({16 * ground[0] + slopes[0].at(x, y), 16 * ground[1] + slopes[1].at(x, y),
                               16 * ground[2] + slopes[2].at(x, y)});
  add_relief(draws, canvas, 32, draws.in(kDifficulty.relief));
  add_relief(draws, canvas, 8, draws.in(kDifficulty.relief) / 2);
  return canvas;
}

/// A figure that is not the object: smaller, any shape, any texture or none; some are drawn out to strips.
Figure clutter_figure(Draws& draws, int object_radius) {
  Figure f{.shape = FigureShape(draws.below(kShapeCount)),
           .texture = Texture(draws.below(kTextureCount + 1)),
           .x = draws.below(256 * kSide),
           .y = draws.below(256 * kSide),
           .radius = object_radius * draws.in(kDifficulty.clutter_size) / 100,
           .phase = {},
           .colours = {draws.colour(), draws.colour()}};
  pose(draws, f);
  if (draws.below(3) == 0) {
    f.shape = draws.below(2) ? FigureShape::kSquare : FigureShape::kDisc;
    f.stretch = draws.in({400, 900});
  }
  return f;
}

/// A thin plain bar that passes near the middle of `object`.
Figure bar_across(Draws& draws, const Figure& object) {
  Figure f{.shape = FigureShape::kSquare,
           .x = object.x + draws.in({-object.radius / 2, object.radius / 2}),
           .y = object.y + draws.in({-object.radius / 2, object.radius / 2}),
           .radius = draws.in({8 * 256, 12 * 256}),
           .phase = {},
           .colours = {draws.colour(), {}}};
  pose(draws, f);
  f.stretch = draws.in({1400, 1800});
  return f;
}

Figure object_figure(Draws& draws, int label, const Colour& ground) {
  Figure f{.shape = FigureShape(label / kTextureCount),
           .texture = Texture(label % kTextureCount),
           .radius = draws.in({256 * kDifficulty.radius.low, 256 * kDifficulty.radius.high}),
           .phase = {},
           .colours = object_colours(draws, ground)};
  f.x = draws.in({f.radius, 256 * kSide - f.radius});
  f.y = draws.in({f.radius, 256 * kSide - f.radius});
  pose(draws, f);
  return f;
}

void shine(Draws& draws, Canvas& canvas) {
  const Slope slope(draws, draws.in(kDifficulty.light));
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x)
      for (int& level : canvas.pixels[std::size_t(y * kSide + x)])
        level = (level * (256 + slope.at(x, y))) >> 8;
}

/// The sums over 2 radius + 1 neighbours along a line of pixels `step` apart; the last ones are repeated.
void sum_line(Colour* line, std::size_t step, int radius) {
  std::array<Colour, kSide> old;
  for (int i = 0; i < kSide; ++i) old[std::size_t(i)] = line[std::size_t(i) * step];
  for (int i = 0; i < kSide; ++i) {
    Colour sum{};
    for (int k = i - radius; k <= i + radius; ++k) {
      const Colour& pixel = old[std::size_t(std::clamp(k, 0, kSide - 1))];
      for (std::size_t c = 0; c < 3; ++c) sum[c] += pixel[c];
    }
    line[std::size_t(i) * step] = sum;
  }
}

void blur(Canvas& canvas, int radius) {
  if (radius == 0) return;
  for (std::size_t i = 0; i < kSide; ++i) sum_line(&canvas.pixels[i * kSide], 1, radius);
  for (std::size_t i = 0; i < kSide; ++i) sum_line(&canvas.pixels[i], kSide, radius);
  const int area = (2 * radius + 1) * (2 * radius + 1), inverse = (1 << 14) / area;
  for (Colour& pixel : canvas.pixels)
    for (int& level : pixel) level = (level * inverse) >> 14;
}

/// Levels with noise: the sum of two random bytes, less its mean, has a standard deviation of 104.
Image develop(const Canvas& canvas, std::uint64_t seed, int noise) {
  Image image = make_image(kSide, kSide);
  for (std::size_t i = 0; i < canvas.pixels.size(); ++i) {
    std::uint64_t bits = random_bits(seed, i);
    for (std::size_t c = 0; c < 3; ++c, bits >>= 16) {
      const int grain = int(bits & 255) + int((bits >> 8) & 255) - 255;
      const int level = canvas.pixels[i][c] + grain * noise * 16 / 104;
      image.rgb[3 * i + c] = std::uint8_t(std::clamp((level + 8) >> 4, 0, 255));
    }
  }
  return image;
}

}  // namespace

Image render_synthetic(std::uint64_t seed, std::uint64_t index) {
  Draws draws(random_bits(seed, index));
  const Colour ground = draws.colour();
  const Figure object = object_figure(draws, synthetic_label(index), ground);
  Canvas canvas = background(draws, ground);
  for (int left = draws.in(kDifficulty.clutter); left > 0; --left)
    paint(canvas, clutter_figure(draws, object.radius));
  paint(canvas, object);
  if (draws.below(100) < kDifficulty.bar_percent) paint(canvas, bar_across(draws, object));
  shine(draws, canvas);
  blur(canvas, draws.in(kDifficulty.blur));
  const int noise = draws.in(kDifficulty.noise);
  return develop(canvas, draws.bits(), noise);
}

}  // namespace qhv
