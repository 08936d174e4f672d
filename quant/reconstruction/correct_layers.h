// The closed-form steps of a piece, layer by layer in graph order, before gradients see it: least squares
// over what each layer reads in the quantised network (least_squares.h).
#pragma once

#include "quant/reconstruction/piece_error.h"

namespace qhv {

struct CorrectOptions {
  bool ridge = true;    // weights take back what rounded activations lose, before they are rounded
  bool descent = true;  // codes by coordinate descent; otherwise the nearest
  /// Biases and the float weights stay, and descent goes on from the codes that there are, each of which
  /// stays next to its float weight.
  bool polish = false;
  int threads = 1;
};

/// Writes weights and biases of the piece's layers: as they are rounded into `quantized`, and as they were
/// before into `unrounded`, the float network whose weights reconstruction rounds.
void correct_layers(QuantizedGraph& quantized, Graph& unrounded, const Graph& reference, const Piece& piece,
                    std::span<const PieceSample> samples, const CorrectOptions& options);

}  // namespace qhv
