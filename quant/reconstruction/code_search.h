// Codes of one output of a layer that bring its error w G w^T - 2 c w^T low (layer_moments.h).
#pragma once

#include <cstdint>
#include <vector>

#include "quant/reconstruction/weight_grid.h"

namespace qhv {

/// What is searched: an output's part of the moments, and its elements of the grid, from `offset` on.
struct CodeProblem {
  const double *gram, *cross;  // [n, n], [n]
  const WeightGrid& grid;
  std::int64_t offset, n;
};

/// Codes one after the other from the last one: with G = L L^T and w* where the error is least, the error is
/// its least value and
///
///   sum_i (L_ii (w_i - w*_i) + sum_{j > i} L_ji (w_j - w*_j))^2
///
/// whose i-th term depends on w_i and on what is decided already. Of all beginnings the best 8 go on, each
/// with the two codes that suit it best; with one it would be Babai's nearest plane, or GPTQ (arXiv
/// 2210.17323). `upper` is L^T by rows, `least` w*. Returns the values of the best end.
std::vector<real> beam_search(const CodeProblem& problem, const double* upper, const double* least);

struct DescentResult {
  std::vector<real> values;
  double error = 0;  // w G w^T - 2 c w^T
};

/// Each coordinate in turn to its best code until none moves, then, with `pairs`, two that move by one code
/// each, and so on; from the codes nearest to `start`.
DescentResult coordinate_descent(const CodeProblem& problem, const real* start, bool pairs);

}  // namespace qhv
