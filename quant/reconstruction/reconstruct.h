// Rounding chosen with regard to its consequences, piece by piece (pieces.h): after a method has chosen the
// quantisers, the roundings of a piece's weights, and if wanted its biases and the steps of its activations,
// are chosen such that
//
//   sum over outputs and channels of F_c E[(o^ - o)^2]
//
// is least. o^ is what the piece puts out in the quantised network, whose earlier pieces are finished, o what
// the float network has there, and F_c the Fisher information of the channel, the mean of g^2 over positions
// and images with labels drawn from the float network (sensitivity.h). For bridge blocks this is Q-HyViT's
// objective (arXiv 2303.12557, section 3.4) with weights by channel.
//
//   erq        blocks; by least squares alone, layer by layer, weights and biases first and then codes: no
//              gradients, and a tenth of the time; after ERQ              (arXiv 2407.06794)
//   adaround   layers; roundings alone, by gradients and then by coordinates (arXiv 2004.10568)
//   brecq      blocks; roundings, steps and biases together by gradients, where the paper learns steps
//              afterwards and no biases                                   (arXiv 2102.05426)
//   qdrop      the same, while activations are left unrounded at random  (arXiv 2203.05740)
//   bridge     as qdrop, with the bridge blocks as pieces
//
// What a full plan (full.h) rounds besides is rounded between the pieces, not while one is learnt.
//
// Least squares has the unweighted error of each layer, and before gradients it can be had with all of them.
//
// The same seed gives the same bits with any number of threads. A piece that ends worse than it began, or
// diverges, keeps its start.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "quant/plan.h"
#include "quant/reconstruction/pieces.h"

namespace qhv {

enum class Reconstruction { kNone, kErq, kAdaRound, kBrecq, kQDrop, kBridge };

/// "none", "erq", "adaround", "brecq", "qdrop", "bridge".
const char* reconstruction_name(Reconstruction kind);

struct ReconstructOptions {
  Pieces pieces = Pieces::kBridges;
  bool ridge = false, descent = false;  // least squares by layer before the gradients (correct_layers.h)
  bool polish = false;  // coordinate descent from where gradients end, for pieces of one layer
  bool roundings = true, steps = true, biases = true;  // what is learnt by gradients; steps: of activations
  double drop = 0.5;     // probability that an activation stays unrounded while learning
  int iterations = 500;  // of each piece
  int batch = 16;        // images of an iteration
  double rounding_lr = 1e-2, step_lr = 1e-3, bias_lr = 1e-3;
  double regularizer = 1;  // weight of the rounding term, where the error at the start is 1
  std::uint64_t seed = 0;
  int threads = 1;
  std::function<void(const char* stage, double done)> progress = {};
  std::function<void()> save = {};  // called after every piece
};

/// What the kind stands for.
ReconstructOptions reconstruct_options(Reconstruction kind);

/// Improves a quantised network whose weights `reference` has in float. What became of each piece that has
/// weights is appended to the plan's reconstruction, in graph order. Pieces that are there already are taken
/// as done: an interrupted reconstruction goes on behind them, with the same images and options to the same
/// bits.
void reconstruct(QuantizedGraph& quantized, const Graph& reference, std::span<const Tensor> images,
                 const ReconstructOptions& options);

}  // namespace qhv
