// Weights of one layer by least squares over its moments (layer_moments.h), without gradients: first any
// weights, then those of a grid.
//
//   ridge    the weights that, reading what the quantised network reads, come nearest to what the float
//            network puts out there; lambda holds them at where they were (ERQ, Zhong et al., arXiv
//            2407.06794, section 4.1: w + dw, dw = -E[w dx x^T] (E[x x^T] + lambda I)^-1)
//   descent  codes: AdaRound's problem (arXiv 2004.10568), of which gradients see a relaxation, by searches
//            that look at codes alone (code_search.h)
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

/// Codes times steps that neither one coordinate nor, with `pairs`, two that move by one code each improve:
/// the better one of where the codes nearest to `start` lead and where a beam search leads, so never worse
/// than the nearest codes.
Tensor descend(const Tensor& start, const LayerMoments& moments, const WeightGrid& grid, bool pairs,
               int threads);

}  // namespace qhv
