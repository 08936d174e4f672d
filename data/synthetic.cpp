#include "data/synthetic.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "data/synthetic_figures.h"
#include "tensor/check.h"
#include "tensor/rng.h"

namespace qhv {
namespace {

constexpr std::string_view kPrefix = "synthetic:";

struct Split {
  std::string_view name;
  std::int64_t count;  // unless the name says another
};
constexpr std::array<Split, 4> kSplits{{{"train", 21000}, {"calib", 512}, {"val", 2100}, {"test", 2100}}};

const Split& find_split(const std::string& spec, std::string_view name) {
  const auto* split =
      std::find_if(kSplits.begin(), kSplits.end(), [&](const Split& s) { return s.name == name; });
  if (split != kSplits.end()) return *split;
  std::string known;
  for (const Split& s : kSplits) known += concat(known.empty() ? "" : ", ", s.name);
  file_error(spec, "there is no split \"", name, "\", only ", known);
}

std::uint64_t split_seed(const Split& split) { return seed_of(concat("qhyvit.synthetic.", split.name)); }

/// The whole of `text` as a number from `low` to `high`.
std::int64_t number(const std::string& spec, const char* what, std::string_view text, std::int64_t low,
                    std::int64_t high) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::invalid_argument || end != text.data() + text.size())
    file_error(spec, "the ", what, " \"", text, "\" is not a whole number");
  if (error != std::errc{} || value < low || value > high)
    file_error(spec, "the ", what, " ", text, " is not from ", low, " to ", high);
  return value;
}

}  // namespace

const std::vector<std::string>& synthetic_classes() {
  constexpr std::array<const char*, kShapeCount> kShapes{"disc", "square", "triangle", "star",
                                                         "ring", "cross",  "crescent"};
  constexpr std::array<const char*, kTextureCount> kTextures{"stripes", "checker", "dots"};
  static const std::vector<std::string> names = [&] {
    std::vector<std::string> result;
    for (const char* shape : kShapes)
      for (const char* texture : kTextures)
        result.push_back(concat(result.size() < 10 ? "0" : "", result.size(), '_', shape, '_', texture));
    return result;
  }();
  return names;
}

int synthetic_label(std::uint64_t index) { return int(index % (kShapeCount * kTextureCount)); }

bool is_synthetic(std::string_view name) { return name.starts_with(kPrefix); }

SyntheticSet parse_synthetic_set(const std::string& spec) {
  require(is_synthetic(spec), "parse_synthetic_set", "\"", spec, "\" does not begin with ", kPrefix);
  const std::string_view rest = std::string_view(spec).substr(kPrefix.size());
  if (rest.find('#') != rest.npos) file_error(spec, "is one image; a set of them is synthetic:SPLIT[:COUNT]");
  const std::size_t colon = rest.find(':');
  const Split& split = find_split(spec, rest.substr(0, colon));
  const std::int64_t count =
      colon == rest.npos ? split.count : number(spec, "count", rest.substr(colon + 1), 1, kMaxSyntheticCount);
  return {std::string(split.name), split_seed(split), count};
}

std::string synthetic_name(const std::string& split, std::int64_t index) {
  return concat(kPrefix, split, '#', index);
}

Image render_synthetic(const std::string& name) {
  require(is_synthetic(name), "render_synthetic", "\"", name, "\" does not begin with ", kPrefix);
  const std::string_view rest = std::string_view(name).substr(kPrefix.size());
  const std::size_t hash = rest.find('#');
  if (hash == rest.npos) file_error(name, "is not an image; one of them is synthetic:SPLIT#INDEX");
  const Split& split = find_split(name, rest.substr(0, hash));
  const std::int64_t index = number(name, "index", rest.substr(hash + 1), 0, kMaxSyntheticCount - 1);
  return render_synthetic(split_seed(split), std::uint64_t(index));
}

}  // namespace qhv
