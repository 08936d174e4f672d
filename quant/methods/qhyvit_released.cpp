// What the public code of Q-HyViT does, as far as it is known: symmetric only; activations by channel before
// grouped convolutions and by tensor elsewhere; convolution weights by output channel, linear weights by
// tensor (joint q-k-v projections in three), operands of matrix products by head; bridge blocks judged by
// their output.
//
// Not as there: the code calibrates layers in order with the bridge layers before them quantised; here every
// unit has the float network's inputs (search_network.h).
#include "quant/methods/search_network.h"

namespace qhv {
namespace {

SearchSpace space_of(const Node& node, const SeenNode& seen, const Calibration& c) {
  const LayerBits bits = c.bits_of(node);
  SearchSpace space;
  const bool by_channel = is_depthwise(node) || std::holds_alternative<MatMul>(node.op);
  for (const SeenInput& input : seen.inputs)
    space.inputs.push_back({input_family(
        Scheme::kSymmetric, by_channel ? Granularity::kChannel : Granularity::kTensor, input, bits.input)});
  if (seen.weight.empty()) return space;
  space.weight.push_back(operator_weight_family(node, seen, bits.weight));
  return space;
}

}  // namespace

QuantizedGraph quantize_qhyvit_released(const Graph& graph, const Calibration& calibration) {
  return search_network(graph, calibration,
                        {.method = "qhyvit-released",
                         .signal = calibration.signal.value_or(Signal::kQuantized),
                         .grid = {.flavour = calibration.flavour},
                         .space = space_of});
}

}  // namespace qhv
