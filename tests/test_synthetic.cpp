#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <map>
#include <set>

#include "data/dataset.h"
#include "data/synthetic.h"
#include "data/synthetic_figures.h"
#include "tensor/rng.h"
#include "tests/image_files.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

std::uint64_t hash_of(const Image& image) {
  return seed_of({reinterpret_cast<const char*>(image.rgb.data()), image.rgb.size()});
}

/// A figure in white on a black canvas, 200 pixels wide, in the middle.
Canvas painted(Figure figure) {
  Canvas canvas{200, std::vector<Colour>(200 * 200, Colour{})};
  figure.x = figure.y = 100 * 256;
  figure.radius = 60 * 256;
  figure.colours = {Colour{255, 255, 255}, Colour{0, 0, 0}};
  paint(canvas, figure);
  return canvas;
}

/// The part of the square of a figure's radius that is white.
double area(const Canvas& canvas) {
  double sum = 0;
  for (const Colour& pixel : canvas.pixels) sum += pixel[0] / (16 * 255.0);
  return sum / (60 * 60);
}

}  // namespace

TEST_CASE("synthetic: every machine renders these pixels") {
  // The constants are what this code gave when kDifficulty was fixed. They change with kDifficulty, never
  // else.
  const std::pair<std::string, std::uint64_t> images[]{{"synthetic:train#0", 0xb3e47f403324cbadu},
                                                       {"synthetic:calib#511", 0xb06f1430116d96e9u},
                                                       {"synthetic:val#1234", 0xaf5656ac2d0a9978u},
                                                       {"synthetic:test#7", 0x62e1d7a014c535d9u},
                                                       {"synthetic:train#9999999", 0xee154661c5b74791u}};
  for (const auto& [name, hash] : images) {
    CAPTURE(name);
    const Image image = load_image(name);
    CHECK(image.width == kSyntheticSide);
    CHECK(image.height == kSyntheticSide);
    CHECK(image.rgb.size() == std::size_t(3 * kSyntheticSide * kSyntheticSide));
    CHECK(hash_of(image) == hash);
  }
}

TEST_CASE("synthetic: an image depends on its split and index and on nothing else") {
  std::set<std::uint64_t> hashes;
  for (const char* split : {"train", "calib", "val", "test"})
    for (int i = 0; i < 21; ++i) hashes.insert(hash_of(load_image(synthetic_name(split, i))));
  CHECK(hashes.size() == 4 * 21);
  CHECK(load_image("synthetic:val#3").rgb == load_image("synthetic:val#3").rgb);
  const SyntheticSet few = parse_synthetic_set("synthetic:val:10"),
                     all = parse_synthetic_set("synthetic:val");
  CHECK(few.seed == all.seed);
  CHECK(render_synthetic(all.seed, 3).rgb == load_image("synthetic:val#3").rgb);
}

TEST_CASE("synthetic: classes are numbered pairs of shape and texture, in equal shares") {
  const std::vector<std::string>& classes = synthetic_classes();
  REQUIRE(classes.size() == std::size_t(kShapeCount * kTextureCount));
  CHECK(classes.front() == "00_disc_stripes");
  CHECK(classes[10] == "10_star_checker");
  CHECK(classes.back() == "20_crescent_dots");
  CHECK(std::is_sorted(classes.begin(), classes.end()));

  const Dataset dataset = open_dataset("synthetic:test:100");  // 16 classes with 5, 5 with 4 images
  CHECK(dataset.classes == classes);
  CHECK(dataset.numbered);
  CHECK(dataset.label_count == 21);
  CHECK(dataset.empty_classes.empty());
  REQUIRE(dataset.samples.size() == 100);
  std::map<int, int> count;
  std::set<std::string> names;
  for (const Sample& s : dataset.samples) {
    ++count[s.label];
    names.insert(s.path);
    const auto index = std::stoull(s.path.substr(s.path.find('#') + 1));
    CHECK(index < 100);
    CHECK(s.label == synthetic_label(index));
  }
  CHECK(names.size() == 100);
  for (int label = 0; label < 21; ++label) CHECK(count[label] == (label < 16 ? 5 : 4));
  const auto by_label = [](const Sample& a, const Sample& b) { return a.label < b.label; };
  CHECK(std::is_sorted(dataset.samples.begin(), dataset.samples.end(), by_label));

  CHECK(open_dataset("synthetic:val").samples.size() == 2100);
  CHECK(open_dataset("synthetic:val:20").empty_classes == std::vector<std::string>{"20_crescent_dots"});
  CHECK(list_images("synthetic:calib").size() == 512);
  CHECK(list_images("synthetic:test:100").at(5) == dataset.samples[5].path);
}

TEST_CASE("synthetic: shapes have the area of their formulas, whatever their turn, stretch and shear") {
  // In squares of the radius, from the limits in in_shape over 1024: pi r^2, (2 a)^2, 3 sqrt(3) a^2,
  // 5 a^2 tan 36 (1 + tan 36 tan 72), pi (R^2 - r^2), 8 a b - 4 b^2, a disc less what another one covers.
  const double areas[]{2.704, 2.441, 1.967, 1.705, 2.393, 2.153, 1.608};
  for (int shape = 0; shape < kShapeCount; ++shape)
    for (const int turn : {0, 100, 777})
      for (const int shear : {0, 40}) {
        CAPTURE(shape);
        CAPTURE(turn);
        const Figure f{.shape = FigureShape(shape),
                       .turn = turn,
                       .stretch = 300,
                       .shear = shear,
                       .phase = {},
                       .colours = {}};
        CHECK(near(area(painted(f)), areas[shape], 0.02));
      }
}

TEST_CASE("synthetic: textures cover half of a figure, dots the part of their circles") {
  const double all = area(painted({.shape = FigureShape::kSquare, .phase = {}, .colours = {}}));
  const auto covered = [&](Texture texture) {
    const Figure f{
        .shape = FigureShape::kSquare, .texture = texture, .texture_turn = 50, .phase = {}, .colours = {}};
    return area(painted(f)) / all;
  };
  CHECK(near(covered(Texture::kStripes), 0.5, 0.03));
  CHECK(near(covered(Texture::kChecker), 0.5, 0.03));
  CHECK(near(covered(Texture::kDots), 1 - 0.3068, 0.03));  // pi (320 / 1024)^2
}

TEST_CASE("synthetic: names that stand for nothing") {
  const auto text = [](const std::string& name, auto use) {
    const std::string error = error_of([&] { use(name); });
    CHECK(error.starts_with("runtime_error: " + name + ": "));
    return error.substr(std::min(error.size(), name.size() + 17));
  };
  const auto set = [&](const std::string& name) {
    CHECK(text(name, list_images) == text(name, open_dataset));
    return text(name, open_dataset);
  };
  CHECK(set("synthetic:dev") == "there is no split \"dev\", only train, calib, val, test");
  CHECK(set("synthetic:").starts_with("there is no split \"\""));
  CHECK(set("synthetic:val:") == "the count \"\" is not a whole number");
  CHECK(set("synthetic:val:ten") == "the count \"ten\" is not a whole number");
  CHECK(set("synthetic:val:5x") == "the count \"5x\" is not a whole number");
  CHECK(set("synthetic:val:5:6") == "the count \"5:6\" is not a whole number");
  for (const char* count : {"0", "-3", "10000001", "2147483648", "99999999999999999999"})
    CHECK(set(concat("synthetic:val:", count)) == concat("the count ", count, " is not from 1 to 10000000"));
  CHECK(set("synthetic:val#5") == "is one image; a set of them is synthetic:SPLIT[:COUNT]");

  CHECK(text("synthetic:val", load_image) == "is not an image; one of them is synthetic:SPLIT#INDEX");
  CHECK(text("synthetic:dev#1", load_image).starts_with("there is no split \"dev\""));
  CHECK(text("synthetic:val#", load_image) == "the index \"\" is not a whole number");
  CHECK(text("synthetic:val#1.5", load_image) == "the index \"1.5\" is not a whole number");
  CHECK(text("synthetic:val#-1", load_image) == "the index -1 is not from 0 to 9999999");
  for (const char* index : {"10000000", "99999999999999999999"})
    CHECK(text(concat("synthetic:val#", index), load_image) ==
          concat("the index ", index, " is not from 0 to 9999999"));
  CHECK(error_of([] { parse_synthetic_set("val"); }).starts_with("invalid_argument"));
}

TEST_CASE("write_png: decodes to the same pixels") {
  const TemporaryFolder folder;
  for (const Image& image : {random_image(1, 1, 1), random_image(37, 5, 2), load_image("synthetic:val#8")}) {
    write_png(folder / "a.png", image);
    const Image read = decode_image(folder / "a.png");
    CHECK(read.width == image.width);
    CHECK(read.height == image.height);
    CHECK(read.rgb == image.rgb);
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  CHECK(error_of([&] {
          write_png(folder / "none/a.png", random_image(2, 2, 1));
        }).starts_with("runtime_error: " + (folder / "none/a.png")));
}
