#include "quant/search.h"

#include <algorithm>
#include <limits>
#include <map>

#include "quant/equalize.h"
#include "quant/family_search.h"

namespace qhv {
namespace {

constexpr int kCoarseImages = 4;  // for all but the last comparison
// What is within this factor of the least objective on a few images may still have the least on all: the
// looser one before a family's neighbours were looked at, the tighter one behind.
constexpr double kClose = 1.25, kVeryClose = 1.1;
constexpr std::size_t kFinalFamilies = 2;

using Families = std::vector<FamilySearch>;

double least_objective(const Families& families, const std::vector<std::size_t>& among) {
  double least = std::numeric_limits<double>::infinity();
  for (const std::size_t f : among) least = std::min(least, families[f].best().objective);
  return least;
}

/// Narrows down on few images which families are compared on all of them; none if `rival` is out of reach.
std::vector<std::size_t> close_families(Families& families, SearchMemory& memory, int few, double rival,
                                        double& least) {
  memory.best.resize(families.size());
  std::vector<std::size_t> close(families.size());
  for (std::size_t f = 0; f < families.size(); ++f) {
    families[f].look_coarsely(few, memory.best[f]);
    close[f] = f;
  }
  const auto keep = [&](double factor) {
    least = least_objective(families, close);
    const double limit = factor * std::min(least, rival);
    std::erase_if(close, [&](std::size_t f) { return !(families[f].best().objective <= limit); });
  };
  keep(kClose);
  for (const std::size_t f : close) families[f].look_closely(few);
  keep(kVeryClose);
  std::ranges::stable_sort(close, {}, [&](std::size_t f) { return families[f].best().objective; });
  if (close.size() > kFinalFamilies) close.resize(kFinalFamilies);
  std::ranges::sort(close);  // the first one wins ties
  return close;
}

}  // namespace

const char* flavour_name(Flavour flavour) { return flavour == Flavour::kFast ? "fast" : "plain"; }

QParams member(const Family& family, std::span<const double> factors) {
  require(factors.size() == family.ranges.size(), "search", factors.size(), " factors for ",
          family.ranges.size(), " ranges");
  std::vector<Range> ranges = family.ranges;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    if (family.scheme != Scheme::kAffineUpper) ranges[i].lo *= factors[i];
    ranges[i].hi *= factors[i];
    // A range below zero has no upper end to scale; the two ends must not cross either.
    ranges[i].hi = std::max(ranges[i].hi, ranges[i].lo);
  }
  const bool spreads = !family.equalization.empty();
  const int axis = spreads ? -1 : family.axis;
  const QParams q = family.scheme == Scheme::kSymmetric
                        ? symmetric_params(ranges, family.bits, axis, family.group)
                        : affine_params(ranges, family.bits, axis, family.group);
  return spreads ? spread(q, family.equalization, family.axis) : q;
}

Found search_operand(const UnitEvaluator& evaluator, const std::vector<LayerQuantizers>& quantizers,
                     Operand operand, bool own_channels, std::span<const Family> families,
                     const SearchGrid& grid, SearchMemory& memory, double rival) {
  require(!families.empty(), "search", "no family to choose from");
  Families searches;
  for (const Family& family : families)
    searches.emplace_back(evaluator, quantizers, operand, own_channels, family, grid);
  const int all = evaluator.images(), few = std::min(kCoarseImages, all);
  for (const FamilySearch& search : searches) memory.plain_evaluations += std::int64_t(search.count()) * all;

  Found found;
  std::vector<std::size_t> close;
  if (grid.flavour == Flavour::kPlain) {
    for (std::size_t f = 0; f < searches.size(); ++f) {
      searches[f].look_at_all(all);
      close.push_back(f);
    }
  } else {
    close = close_families(searches, memory, few, rival, found.coarse);
    if (few < all)
      for (const std::size_t f : close) searches[f].decide(all);
  }
  for (const std::size_t f : close) {
    const Candidate best = searches[f].best();
    if (grid.flavour == Flavour::kFast) memory.best[f] = best.indices;
    if (best.objective < found.objective)
      found = {searches[f].quantizer(best.indices), best.objective, found.coarse};
  }
  require(close.empty() || !std::holds_alternative<Unquantized>(found.quantizer), "search",
          "the objective is NaN");
  return found;
}

SearchScore search_unit(const UnitEvaluator& evaluator, const Unit& unit,
                        std::vector<LayerQuantizers>& quantizers, std::span<const SearchSpace> spaces,
                        const SearchGrid& grid) {
  SearchScore score{.before = evaluator.objective(quantizers)};
  score.after = score.before;
  std::map<std::pair<std::size_t, int>, SearchMemory> memories;  // by layer and slot
  int changes = 0;
  for (int round = 0; round < grid.rounds; ++round) {
    const int changes_before = changes;
    const auto improve = [&](Operand operand, std::span<const Family> families, Quantizer& current) {
      SearchMemory& memory = memories[{operand.layer, operand.slot}];
      if (memory.changes == changes) return;  // what it depends on is as it was
      const bool own_channels = unit.layers[operand.layer] == unit.output();
      Found found = search_operand(evaluator, quantizers, operand, own_channels, families, grid, memory);
      // A search on a grid may miss the parameters that stand; these must not get worse.
      if (found.quantizer != current && found.objective < score.after) {
        current = std::move(found.quantizer);
        score.after = found.objective;
        ++changes;
      }
      memory.changes = changes;
    };
    for (std::size_t layer = 0; layer < unit.layers.size(); ++layer) {
      if (!spaces[layer].weight.empty())
        improve({layer, Operand::kWeight}, spaces[layer].weight, quantizers[layer].weight);
      for (std::size_t slot = 0; slot < spaces[layer].inputs.size(); ++slot)
        if (!spaces[layer].inputs[slot].empty())
          improve({layer, int(slot)}, spaces[layer].inputs[slot], quantizers[layer].inputs[slot]);
    }
    if (changes == changes_before) break;
  }
  for (const auto& [operand, memory] : memories) score.plain_evaluations += memory.plain_evaluations;
  return score;
}

}  // namespace qhv
