#include "experiments/reconstruction_choice.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "experiments/quantize.h"
#include "tensor/untrusted.h"

namespace qhv {
namespace {

struct Kind {
  Reconstruction kind;
  const char* summary;
};

constexpr Kind kKinds[] = {
    {Reconstruction::kNone, "nothing"},
    {Reconstruction::kErq, "block by block, least squares by layer: ridge, descent (arXiv 2407.06794)"},
    {Reconstruction::kAdaRound, "layer by layer, gradients: roundings (arXiv 2004.10568)"},
    {Reconstruction::kBrecq, "block by block, gradients: roundings, steps, biases (arXiv 2102.05426)"},
    {Reconstruction::kQDrop, "the same while activations are dropped (arXiv 2203.05740)"},
    {Reconstruction::kBridge, "the same, bridge blocks by themselves"},
};

struct Part {
  const char *name, *summary;
  void (*set)(ReconstructOptions& options, bool on);
};

constexpr Part kParts[] = {
    {"ridge", "weights take back what rounded activations lose",
     [](ReconstructOptions& o, bool on) { o.ridge = on; }},
    {"descent", "codes by a beam and by coordinates", [](ReconstructOptions& o, bool on) { o.descent = on; }},
    {"roundings", "codes by gradients", [](ReconstructOptions& o, bool on) { o.roundings = on; }},
    {"steps", "of activations by gradients (LSQ)", [](ReconstructOptions& o, bool on) { o.steps = on; }},
    {"biases", "by gradients", [](ReconstructOptions& o, bool on) { o.biases = on; }},
    {"drop", "activations stay unrounded at random while learning",
     [](ReconstructOptions& o, bool on) { o.drop = on ? ReconstructOptions().drop : 0; }},
};

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find(by, begin)) != std::string::npos; begin = end + 1)
    parts.push_back(text.substr(begin, end - begin));
  parts.push_back(text.substr(begin));
  return parts;
}

std::string list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += concat(text.empty() ? "" : ", ", name);
  return text;
}

/// The entry of this name. Throws CLI::ValidationError, listing all.
template <typename Entries, typename Name>
const auto& find(const Entries& entries, Name name_of, const std::string& name, const char* option) {
  std::vector<std::string> names;
  for (const auto& entry : entries) {
    if (name_of(entry) == name) return entry;
    names.push_back(name_of(entry));
  }
  throw CLI::ValidationError(option, concat(in_quotes(name), " is none of ", list(names)));
}

std::string name_of_kind(const Kind& kind) { return reconstruction_name(kind.kind); }
std::string name_of_part(const Part& part) { return part.name; }

}  // namespace

ReconstructOptions parse_reconstruction(const std::string& word, const char* option) {
  const std::vector<std::string> names = split(word, ':');
  ReconstructOptions options = reconstruct_options(find(kKinds, name_of_kind, names.front(), option).kind);
  if (names.size() == 1) return options;
  for (const Part& part : kParts) part.set(options, false);
  for (std::size_t i = 1; i < names.size(); ++i)
    find(kParts, name_of_part, names[i], option).set(options, true);
  return options;
}

Recipe parse_recipe(const std::string& word, const char* option) {
  if (word == kBestName) return parse_recipe(kBestRecipe, option);
  const std::size_t plus = std::min(word.find('+'), word.size());
  Recipe recipe{word.substr(0, plus), plus < word.size() ? word.substr(plus + 1) : kNoReconstruction};
  const std::vector<std::string> methods = method_names();
  if (std::ranges::find(methods, recipe.method) == methods.end())
    throw CLI::ValidationError(option, concat(in_quotes(recipe.method), " is none of ", list(methods)));
  parse_reconstruction(recipe.reconstruction, option);
  return recipe;
}

std::string reconstruction_help() {
  std::string help = "KIND or KIND:PART:..., where KIND is one of";
  for (const Kind& kind : kKinds) help += concat("\n", name_of_kind(kind), ": ", kind.summary);
  help += "\nand PARTs, which replace those of the kind,";
  for (const Part& part : kParts) help += concat("\n", part.name, ": ", part.summary);
  return help;
}

}  // namespace qhv
