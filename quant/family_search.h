// The candidates of one family of quantisers for one operand, and what a search has seen of them so far
// (search.h): the pieces from which the two flavours of the search are put together.
//
// Candidates are indices on the grid of factors, or into a list. Where each range of the family acts on
// channels of its own of the unit's output, there is an index for each range, and every range ranks its own.
#pragma once

#include "quant/search.h"

namespace qhv {

/// Grid indices: one for each range that has channels of its own, otherwise one.
using Indices = std::vector<int>;

struct Candidate {
  double objective = 0;
  Indices indices;
};

class FamilySearch {
 public:
  /// All arguments must outlive it.
  FamilySearch(const UnitEvaluator& evaluator, const std::vector<LayerQuantizers>& quantizers,
               Operand operand, bool own_channels, const Family& family, const SearchGrid& grid);

  /// How many candidates there are.
  int count() const { return count_; }

  // Looks at candidates on the first `images` images.

  void look_at_all(int images);
  /// Every few of the grid; if it is known where the best was, that and one on either side.
  void look_coarsely(int images, const Indices& known);
  /// The neighbours of the best so far.
  void look_closely(int images);
  /// The best few by what was seen; only these count from now on.
  void decide(int images);

  /// The best of what was seen, each range by its own. Ties go to the larger scale, which clips less; in a
  /// list to the first.
  Candidate best() const { return ranked(0); }

  Quantizer quantizer(const Indices& indices) const;

 private:
  struct Seen {
    Indices indices;
    std::vector<double> values;  // the objective's share of each range
  };

  double factor(int index) const;
  std::vector<Indices> every(int step) const;
  Indices moved(Indices indices, int offset) const;
  void look_at(const std::vector<Indices>& list, int images);
  /// For every range the candidate at this place of its own ranking.
  Candidate ranked(std::size_t place) const;

  const UnitEvaluator& evaluator_;
  const std::vector<LayerQuantizers>& quantizers_;
  Operand operand_;
  const Family& family_;
  const SearchGrid& grid_;
  int count_;
  std::size_t groups_;  // ranges that choose for themselves, or 1
  std::vector<Seen> seen_;
};

}  // namespace qhv
