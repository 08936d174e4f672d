// How far a piece of the quantised network is from the float one: the objective of reconstruction
// (reconstruct.h).
#pragma once

#include <span>

#include "quant/plan.h"
#include "quant/reconstruction/pieces.h"

namespace qhv {

/// A piece for one image: what it reads in either network, and what it ought to put out. The tensors belong
/// to whoever made the sample.
struct PieceSample {
  std::vector<const Tensor*> externals;        // as Unit::externals, of the quantised network
  std::vector<const Tensor*> float_externals;  // of the float network
  std::vector<const Tensor*> targets;          // as Piece::outputs, of the float network
};

/// By output of the piece, by channel: how much errors matter.
using ChannelWeights = std::vector<std::vector<double>>;

/// Channels of maps [B, C, H, W] are axis 1, of tokens [.., C] the last one.
int channel_axis(const Tensor& x);

/// sum_c weights_c sum (y - target)^2 over channel c, and its gradient if wanted.
double weighted_error(const Tensor& y, const Tensor& target, const std::vector<double>& weights,
                      Tensor* gradient);

/// The mean over the images of the weighted errors of all outputs, for the piece as `quantized` has it.
double piece_error(const QuantizedGraph& quantized, const Piece& piece, std::span<const PieceSample> samples,
                   const ChannelWeights& weights, int threads);

}  // namespace qhv
