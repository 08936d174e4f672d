// Weights of one layer by least squares over its moments (layer_moments.h), without gradients: first any
// weights, then those of a grid.
//
//   ridge    the weights that, reading what the quantised network reads, come nearest to what the float
//            network puts out there; lambda holds them at where they were (ERQ, Zhong et al., arXiv
//            2407.06794, section 4.1: w + dw, dw = -E[w dx x^T] (E[x x^T] + lambda I)^-1)
//   descent  codes, one coordinate at a time to the best value that it may have, until none moves; then pairs
//            that only move together. Each step lowers the error, so it ends at or below where it began.
//            AdaRound's (arXiv 2004.10568) problem, of which gradients see a relaxation
#pragma once

#include "quant/reconstruction/layer_moments.h"
#include "quant/reconstruction/weight_grid.h"

namespace qhv {

/// argmin_w error(w) + lambda |w - start|^2 for each output, lambda in units of the mean of G's diagonal.
/// Lambda is raised by factors of ten where G + lambda I is not positive definite. Throws
/// std::invalid_argument for moments that are not finite.
Tensor ridge(const Tensor& start, const LayerMoments& moments, double lambda, int threads);

/// The moments with the penalty in them: lambda |w - towards|^2 in the units of ridge().
LayerMoments held(const LayerMoments& moments, const Tensor& towards, double lambda);

/// Lowers the error from the code nearest to `start` to a minimum that neither one coordinate nor, with
/// `pairs`, two that move by one code each improve. Returns codes times steps.
Tensor descend(const Tensor& start, const LayerMoments& moments, const WeightGrid& grid, bool pairs,
               int threads);

}  // namespace qhv
