// The learning of one piece by gradients: what reconstruct.h does between the passes over the network.
#pragma once

#include "quant/reconstruction/piece_error.h"
#include "quant/reconstruction/reconstruct.h"

namespace qhv {

struct LearntRoundings {
  std::int64_t flipped = 0, free = 0;  // as PieceTrace
  double regularizer = 0;
  bool diverged = false;  // a gradient was not finite; nothing has been written
};

/// Learns the piece's roundings, and writes weights, biases and steps into `quantized`. `unrounded` has the
/// weights that are rounded, `error` is the piece's as it stands, and `index` of the piece makes its random
/// numbers.
LearntRoundings learn_piece(QuantizedGraph& quantized, const Graph& unrounded, const Piece& piece,
                            std::span<const PieceSample> samples, const ChannelWeights& weights, double error,
                            const ReconstructOptions& options, std::uint64_t index);

}  // namespace qhv
