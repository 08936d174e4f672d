// What the partial scheme of Q-HyViT leaves in floating point and a network of integers alone needs as
// integers too (`--full`): the inputs of every other node that computes with values, for every method by the
// same rules.
//
//   SiLU                   8 bits, affine: a table of 256 entries gives what its readers want. The range is
//                          the one that loses least behind the function: what lies far below zero may be
//                          clipped, since SiLU is flat there
//   softmax                8 bits, affine; by head where there are heads
//   mul                    8 bits, affine: products accumulate in 32 bits
//   global_avg_pool        8 bits, affine
//   layer_norm, group_norm, add, resize_bilinear
//                          16 bits, affine: the residual stream and what is normalised. With 8 bits there,
//                          transformers break
//
// These widths do not follow --abits: it is the operands of matrix products that fewer bits make cheaper.
// Nodes that only move values (unfold, slice, concat, ...) carry the codes that their readers want, ReLU
// clips them, and sums of products stay in the accumulator: nothing is rounded there. A method that has its
// own way with such a node plans it itself (FQ-ViT's power-of-two factors for normalisations).
#pragma once

#include "quant/calibrate.h"
#include "quant/plan.h"

namespace qhv {

/// Adds a layer to the plan for each of full_nodes (plan.h) that it does not have, from the ranges and
/// histograms of the float network `reference`.
void add_full_layers(QuantPlan& plan, const Graph& reference, const Calibration& calibration);

/// The affine parameters of `bits` for the input of SiLU that lose least of its output over the histogram:
/// least sum of (silu(x^) - silu(x))^2.
QParams silu_input_params(const Histogram& histogram, const Range& seen, int bits);

}  // namespace qhv
