#include "quant/family_search.h"

#include <algorithm>

namespace qhv {
namespace {

constexpr int kCoarseStep = 4;  // of the grid
constexpr std::size_t kFinalists = 3;

}  // namespace

FamilySearch::FamilySearch(const UnitEvaluator& evaluator, const std::vector<LayerQuantizers>& quantizers,
                           Operand operand, bool own_channels, const Family& family, const SearchGrid& grid)
    : evaluator_(evaluator),
      quantizers_(quantizers),
      operand_(operand),
      family_(family),
      grid_(grid),
      count_(family.listed.empty() ? grid.candidates : int(family.listed.size())),
      groups_(own_channels && !family.ranges.empty() && evaluator.channels() % family.ranges.size() == 0
                  ? family.ranges.size()
                  : 1) {}

void FamilySearch::look_at_all(int images) { look_at(every(1), images); }

void FamilySearch::look_coarsely(int images, const Indices& known) {
  if (!family_.listed.empty())
    look_at(every(1), images);
  else if (known.size() != groups_)
    look_at(every(kCoarseStep), images);
  else
    look_at({moved(known, -kCoarseStep), known, moved(known, kCoarseStep)}, images);
}

void FamilySearch::look_closely(int images) {
  if (!family_.listed.empty()) return;
  const Indices center = best().indices;
  std::vector<Indices> neighbours;
  for (int offset = 1 - kCoarseStep; offset < kCoarseStep; ++offset)
    if (offset != 0) neighbours.push_back(moved(center, offset));
  look_at(neighbours, images);
}

void FamilySearch::decide(int images) {
  std::vector<Indices> finalists;
  for (std::size_t place = 0; place < std::min(kFinalists, std::size_t(count_)); ++place)
    finalists.push_back(ranked(place).indices);
  seen_.clear();
  look_at(finalists, images);
}

Quantizer FamilySearch::quantizer(const Indices& indices) const {
  if (!family_.listed.empty()) return family_.listed[std::size_t(indices[0])];
  std::vector<double> factors;
  for (std::size_t r = 0; r < family_.ranges.size(); ++r)
    factors.push_back(factor(indices[groups_ > 1 ? r : 0]));
  return member(family_, factors);
}

double FamilySearch::factor(int index) const {
  return grid_.alpha + index * (grid_.beta - grid_.alpha) / std::max(1, grid_.candidates - 1);
}

std::vector<Indices> FamilySearch::every(int step) const {
  std::vector<Indices> list;
  for (int index = (count_ - 1) % step; index < count_; index += step)
    list.push_back(Indices(groups_, index));
  return list;
}

Indices FamilySearch::moved(Indices indices, int offset) const {
  for (int& index : indices) index = std::clamp(index + offset, 0, count_ - 1);
  return indices;
}

void FamilySearch::look_at(const std::vector<Indices>& list, int images) {
  std::vector<Quantizer> candidates;
  for (const Indices& indices : list) candidates.push_back(quantizer(indices));
  const ScoreTable table = evaluator_.score(quantizers_, operand_, candidates, images);
  const std::size_t width = evaluator_.channels() / groups_;
  for (std::size_t i = 0; i < list.size(); ++i) {
    Seen seen{list[i], {}};
    for (std::size_t g = 0; g < groups_; ++g) {
      Score score;
      for (std::size_t c = g * width; c < (g + 1) * width; ++c) score.add(table[i][c]);
      seen.values.push_back(score.value(evaluator_.metric()));
    }
    seen_.push_back(std::move(seen));
  }
}

Candidate FamilySearch::ranked(std::size_t place) const {
  Candidate result;
  const int preferred = family_.listed.empty() ? -1 : 1;  // sign by which a lower index loses or wins a tie
  for (std::size_t g = 0; g < groups_; ++g) {
    std::vector<std::pair<double, int>> order;
    for (const Seen& seen : seen_) order.push_back({seen.values[g], preferred * seen.indices[g]});
    std::ranges::sort(order);
    order.erase(std::unique(order.begin(), order.end()), order.end());
    const auto& [value, index] = order[std::min(place, order.size() - 1)];
    result.objective += value;
    result.indices.push_back(preferred * index);
  }
  return result;
}

}  // namespace qhv
