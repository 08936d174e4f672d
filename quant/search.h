// The search of one unit over scale, granularity and scheme (Q-HyViT, arXiv 2303.12557, section 3.4): for
// each quantised tensor in turn the quantiser of least objective (objective.h), all others standing still;
// weights and inputs alternate for a few rounds, until nothing changes.
//
// A Family is a scheme at a granularity. Its members differ in scale: factor f of the seen range, on the grid
//   f_j = alpha + j (beta - alpha) / (candidates - 1),   j = 0 .. candidates - 1
// Where a tensor has several ranges and each acts on channels of its own of the unit's output (output
// channels of a weight, channels before a depthwise convolution, heads of a matrix product), each range takes
// its own best factor, at the cost of one: the objective is a sum over channels. Otherwise all ranges share
// one factor.
//
// Two flavours. `plain` evaluates every candidate of every family on every image. `fast` looks at every
// fourth candidate on 4 images, drops the families that are far behind, looks at the neighbours of the best
// in the others, and compares the best 3 of the best 2 families on all images. When a tensor's turn comes
// again, the fast search looks around what it found before.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "quant/objective.h"
#include "quant/observer.h"
#include "quant/plan.h"

namespace qhv {

enum class Scheme {
  kSymmetric,
  kAffine,      // both ends of the range are scaled
  kAffineUpper  // the upper end is scaled, the lower one stays: for what SiLU puts out
};

struct Family {
  Scheme scheme = Scheme::kSymmetric;
  int axis = -1, group = 1;
  std::vector<Range> ranges = {};  // one, or one for each group of the axis
  int bits = 8;
  /// With one range: that of x / a. The members are spread over `axis` by these factors (equalize.h).
  std::vector<float> equalization = {};
  /// Instead of all the above: a list of candidates, each of which is looked at.
  std::vector<Quantizer> listed = {};
};

/// The member with a factor for each range, of a family that is not a list.
QParams member(const Family& family, std::span<const double> factors);

enum class Flavour { kFast, kPlain };

/// "fast" or "plain".
const char* flavour_name(Flavour flavour);

struct SearchGrid {
  double alpha = 0.01, beta = 1.2;
  int candidates = 100;
  int rounds = 3;
  Flavour flavour = Flavour::kFast;
};

/// The families that a search may choose from for one quantiser; the first one wins ties.
struct SearchSpace {
  std::vector<std::vector<Family>> inputs;  // by slot
  std::vector<Family> weight;               // none for a node without weight
};

struct Found {
  Quantizer quantizer = Unquantized{};
  double objective = std::numeric_limits<double>::infinity();
  double coarse = std::numeric_limits<double>::infinity();  // of the fast flavour, on few images
};

/// What a search of one operand leaves for the next one of the same operand.
struct SearchMemory {
  std::vector<std::vector<int>> best;  // grid indices, by family
  std::int64_t plain_evaluations = 0;  // that the plain flavour would have needed so far
  int changes = -1;                    // of the unit's quantisers so far, its own among them
};

/// The best quantiser for one operand. `rival`: what else was found on few images; the fast flavour gives up,
/// and returns an infinite objective, when that is out of reach.
Found search_operand(const UnitEvaluator& evaluator, const std::vector<LayerQuantizers>& quantizers,
                     Operand operand, bool own_channels, std::span<const Family> families,
                     const SearchGrid& grid, SearchMemory& memory,
                     double rival = std::numeric_limits<double>::infinity());

/// Improves `quantizers`; they and `spaces` follow the order of Unit::layers. Returns the objective before
/// and after, and how many evaluations the plain flavour would have needed. No choice makes it worse.
SearchScore search_unit(const UnitEvaluator& evaluator, const Unit& unit,
                        std::vector<LayerQuantizers>& quantizers, std::span<const SearchSpace> spaces,
                        const SearchGrid& grid);

}  // namespace qhv
