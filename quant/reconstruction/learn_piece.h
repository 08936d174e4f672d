// The learning of one piece: what reconstruct.h does between the passes over the network.
#pragma once

#include "quant/reconstruction/reconstruct.h"

namespace qhv {

/// A piece for one image: what it reads in the quantised network, and what it ought to put out.
struct PieceSample {
  std::vector<Tensor> externals;  // as Unit::externals
  std::vector<Tensor> targets;    // as Piece::outputs
};

/// By output of the piece, by channel: how much errors matter.
using ChannelWeights = std::vector<std::vector<double>>;

/// Channels of maps [B, C, H, W] are axis 1, of tokens [.., C] the last one.
int channel_axis(const Tensor& x);

/// Learns the piece's roundings, and writes weights, biases and steps into `quantized`. `index` of the piece
/// makes its random numbers.
PieceTrace learn_piece(QuantizedGraph& quantized, const Graph& reference, const Piece& piece,
                       std::span<const PieceSample> samples, const ChannelWeights& weights,
                       const ReconstructOptions& options, std::uint64_t index);

}  // namespace qhv
