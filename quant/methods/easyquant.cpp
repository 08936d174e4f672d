// EasyQuant (arXiv 2006.16669, section 3.2): the scales that maximise the cosine similarity of a layer's
// output with the float network's; weights, then inputs, alternating. Symmetric, one scale for a tensor;
// scales from 0.5 to 1.2 times that of the seen range. As published but for the grid's upper end, which the
// paper lets go up to 2.
#include "quant/methods/search_network.h"

namespace qhv {

QuantizedGraph quantize_easyquant(const Graph& graph, const Calibration& calibration) {
  const auto space = [](const Node& node, const SeenNode& seen, const Calibration& c) {
    const LayerBits bits = c.bits_of(node);
    SearchSpace space;
    for (const SeenInput& input : seen.inputs)
      space.inputs.push_back({input_family(Scheme::kSymmetric, Granularity::kTensor, input, bits.input)});
    if (!seen.weight.empty())
      space.weight.push_back(weight_family(Scheme::kSymmetric, Granularity::kTensor, seen, bits.weight));
    return space;
  };
  return search_network(graph, calibration,
                        {.method = "easyquant",
                         .metric = Metric::kCosine,
                         .signal = Signal::kNone,
                         .bridges = false,
                         .grid = {.alpha = 0.5, .flavour = calibration.flavour},
                         .space = space});
}

}  // namespace qhv
