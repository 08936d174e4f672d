// Rounding and clipping shift the mean of a layer's output; its bias can take the shift back (Nagel et al.,
// arXiv 1906.04721, section 4.2, the empirical form):
//
//   bias_o += E[ output_o of the float network ] - E[ output_o of the quantised network ]
//
// over all calibration images and positions. Layers are corrected in graph order, each in the network whose
// earlier layers are quantised and corrected already. Biases are not quantised, so this costs nothing at
// inference.
#pragma once

#include <span>

#include "quant/plan.h"

namespace qhv {

/// Corrects the bias of every planned convolution and linear layer that has one, but for layers with one
/// output vector per image: a few dozen are too few for a mean. `reference` is the float network.
void correct_biases(QuantizedGraph& quantized, const Graph& reference, std::span<const Tensor> images,
                    int threads);

}  // namespace qhv
