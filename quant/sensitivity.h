// How much an error in a layer's output matters to the network's answer: the weights of the search objective
//
//   E[L(x + e)] - E[L(x)]  ~  1/2 e^T H e,    H the Hessian of the loss with respect to the output
//
// (Q-HyViT, arXiv 2303.12557, equations 3 to 6), of which every signal below takes an estimate that is
// diagonal, or diagonal with a few directions d besides: e^T H e ~ sum_i h_i e_i^2 + sum_d (d^T e)^2, the
// latter by channel. L compares the answer with the float network's, no labels are needed.
//
//   quantized     Q-HyViT's Algorithm 1: the network is quantised with default parameters first, then
//                 L = KL(p_float || p_quantised) is differentiated; H = diag(g^2). PTQ4ViT differentiates the
//                 float network, where this gradient is p - p = 0, and lives on float noise
//   fisher        the true Fisher information E[g g^T]: labels drawn from the float network's own answer,
//                 cross-entropy; h = mean of g^2, directions g / sqrt(draws). A diagonal takes errors for
//                 independent noise, as rounding is, and makes too little of errors that add up over
//                 positions, as those of clipping and of weights do; the directions see how they add up
//   perturbation  APHQ-ViT (arXiv 2504.02508): H = diag(|g(x + d) - g(x - d)| / |2 e|), with d the
//                 quantisation noise of all inputs and e what it does to this output
//   lowrank       h = max(0, E[g e] / E[e^2]) over the images, and the direction g of each image (LS-ViT)
//
// Gradients pass through roundings unchanged (straight-through).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "quant/plan.h"
#include "quant/unit.h"

namespace qhv {

enum class Signal { kNone, kQuantized, kFisher, kPerturbation, kLowRank };

/// "none", "quantized", "fisher", "perturbation", "lowrank".
const char* signal_name(Signal signal);

/// How many labels `fisher` draws for an image.
inline constexpr int kFisherDraws = 4;

struct SampleOptions {
  Signal signal = Signal::kQuantized;
  std::uint64_t seed = 0;  // of the labels that fisher draws
  int threads = 1;
};

/// What the float network `graph` has at the units, with the importance of their outputs: [unit][image].
/// `defaults` is the network quantised with default parameters.
///
/// Throws std::invalid_argument if a signal is not finite, naming the unit's last node, or if it is zero
/// everywhere. That of one unit may be zero: what only scales a softmax of one element has no influence.
std::vector<std::vector<UnitSample>> sample_units(const Graph& graph, const QuantizedGraph& defaults,
                                                  std::span<const Unit> units, std::span<const Tensor> images,
                                                  const SampleOptions& options);

/// Bytes that sample_units needs for one image of this unit.
std::int64_t sample_bytes(const Graph& graph, const Unit& unit);

/// Units in portions whose samples of so many images fit into memory together.
std::vector<std::vector<Unit>> portions(const Graph& graph, const std::vector<Unit>& units,
                                        std::size_t images);

}  // namespace qhv
