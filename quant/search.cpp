#include "quant/search.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "quant/equalize.h"

namespace qhv {
namespace {

constexpr int kCoarseStep = 4;    // of the grid, at first
constexpr int kCoarseImages = 4;  // for all but the last comparison
constexpr int kFinalists = 3;

/// Grid indices, one for each range of a family.
using Indices = std::vector<int>;

/// The search within one family.
class FamilySearch {
 public:
  FamilySearch(const UnitEvaluator& evaluator, const std::vector<LayerQuantizers>& quantizers,
               Operand operand, bool own_channels, const Family& family, const SearchGrid& grid)
      : evaluator_(evaluator),
        quantizers_(quantizers),
        operand_(operand),
        family_(family),
        grid_(grid),
        groups_(own_channels && !family.ranges.empty() && evaluator.channels() % family.ranges.size() == 0
                    ? family.ranges.size()
                    : 1) {}

  Found run() {
    if (!family_.listed.empty()) return best_listed();
    if (grid_.flavour == Flavour::kPlain) {
      consider(every(1), evaluator_.images());
      return best();
    }
    const int few = std::min(kCoarseImages, evaluator_.images());
    consider(every(kCoarseStep), few);
    const Indices center = ranked(0);
    std::vector<Indices> neighbours;
    for (int offset = 1 - kCoarseStep; offset < kCoarseStep; ++offset)
      if (offset != 0) neighbours.push_back(moved(center, offset));
    consider(neighbours, few);
    std::vector<Indices> finalists;
    for (std::size_t place = 0; place < kFinalists; ++place) finalists.push_back(ranked(place));
    if (few < evaluator_.images()) {
      seen_.clear();
      consider(finalists, evaluator_.images());
    }
    return best();
  }

 private:
  struct Seen {
    Indices indices;             // by group
    std::vector<double> values;  // the objective's share of each group
  };

  double factor(int index) const {
    return grid_.alpha + index * (grid_.beta - grid_.alpha) / std::max(1, grid_.candidates - 1);
  }
  QParams quantizer(const Indices& indices) const {
    std::vector<double> factors;
    for (std::size_t r = 0; r < family_.ranges.size(); ++r)
      factors.push_back(factor(indices[groups_ > 1 ? r : 0]));
    return member(family_, factors);
  }
  std::vector<Indices> every(int step) const {
    std::vector<Indices> list;
    for (int index = (grid_.candidates - 1) % step; index < grid_.candidates; index += step)
      list.push_back(Indices(groups_, index));
    return list;
  }
  Indices moved(Indices indices, int offset) const {
    for (int& index : indices) index = std::clamp(index + offset, 0, grid_.candidates - 1);
    return indices;
  }

  void consider(const std::vector<Indices>& list, int images) {
    std::vector<Quantizer> candidates;
    for (const Indices& indices : list) candidates.push_back(quantizer(indices));
    const ScoreTable table = evaluator_.score(quantizers_, operand_, candidates, images);
    for (std::size_t i = 0; i < list.size(); ++i) {
      Seen seen{list[i], {}};
      const std::size_t width = evaluator_.channels() / groups_;
      for (std::size_t g = 0; g < groups_; ++g) {
        Score score;
        for (std::size_t c = g * width; c < (g + 1) * width; ++c) score.add(table[i][c]);
        seen.values.push_back(score.value(evaluator_.metric()));
      }
      seen_.push_back(std::move(seen));
    }
  }

  /// For every group the index at this place of its own ranking; ties go to the larger scale, which clips
  /// less.
  Indices ranked(std::size_t place) const {
    Indices indices;
    for (std::size_t g = 0; g < groups_; ++g) {
      std::vector<std::pair<double, int>> order;
      for (const Seen& seen : seen_) order.push_back({seen.values[g], -seen.indices[g]});
      std::ranges::sort(order);
      order.erase(std::unique(order.begin(), order.end()), order.end());
      indices.push_back(-order[std::min(place, order.size() - 1)].second);
    }
    return indices;
  }

  Found best_listed() const {
    const ScoreTable table = evaluator_.score(quantizers_, operand_, family_.listed, evaluator_.images());
    Found best{Unquantized{}, std::numeric_limits<double>::infinity()};
    for (std::size_t i = 0; i < table.size(); ++i) {
      Score total;
      for (const Score& channel : table[i]) total.add(channel);
      if (const double value = total.value(evaluator_.metric()); value < best.objective)
        best = {family_.listed[i], value};
    }
    return best;
  }

  Found best() const {
    const Indices indices = ranked(0);
    double objective = 0;
    for (std::size_t g = 0; g < groups_; ++g) {
      double least = std::numeric_limits<double>::infinity();
      for (const Seen& seen : seen_) least = std::min(least, seen.values[g]);
      objective += least;
    }
    return {quantizer(indices), objective};
  }

  const UnitEvaluator& evaluator_;
  const std::vector<LayerQuantizers>& quantizers_;
  Operand operand_;
  const Family& family_;
  const SearchGrid& grid_;
  std::size_t groups_;  // of channels that choose for themselves
  std::vector<Seen> seen_;
};

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
                     const SearchGrid& grid) {
  require(!families.empty(), "search", "no family to choose from");
  Found best{Unquantized{}, std::numeric_limits<double>::infinity()};
  for (const Family& family : families) {
    Found found = FamilySearch(evaluator, quantizers, operand, own_channels, family, grid).run();
    if (found.objective < best.objective) best = std::move(found);
  }
  require(!std::holds_alternative<Unquantized>(best.quantizer), "search", "the objective is NaN");
  return best;
}

SearchScore search_unit(const UnitEvaluator& evaluator, const Unit& unit,
                        std::vector<LayerQuantizers>& quantizers, std::span<const SearchSpace> spaces,
                        const SearchGrid& grid) {
  SearchScore score{evaluator.objective(quantizers), 0};
  score.after = score.before;
  for (int round = 0; round < grid.rounds; ++round) {
    bool changed = false;
    const auto improve = [&](Operand operand, std::span<const Family> families, Quantizer& current) {
      const bool own_channels = unit.layers[operand.layer] == unit.output();
      Found found = search_operand(evaluator, quantizers, operand, own_channels, families, grid);
      // A search on a grid may miss the parameters that stand; these must not get worse.
      if (found.quantizer == current || found.objective >= score.after) return;
      current = std::move(found.quantizer);
      score.after = found.objective;
      changed = true;
    };
    for (std::size_t layer = 0; layer < unit.layers.size(); ++layer) {
      if (!spaces[layer].weight.empty())
        improve({layer, Operand::kWeight}, spaces[layer].weight, quantizers[layer].weight);
      for (std::size_t slot = 0; slot < spaces[layer].inputs.size(); ++slot)
        if (!spaces[layer].inputs[slot].empty())
          improve({layer, int(slot)}, spaces[layer].inputs[slot], quantizers[layer].inputs[slot]);
    }
    if (!changed) break;
  }
  return score;
}

}  // namespace qhv
