// Q-HyViT (arXiv 2303.12557, section 3 and Algorithm 1): the joint search over scale, granularity and scheme
// for every layer, by the sensitivity of the quantised network, with bridge blocks judged by their output.
//
// Choices where the paper leaves one:
//   - activations have a scale for each channel where integer arithmetic permits it: before depthwise
//     convolutions by itself, before other layers with weights by equalization (equalize.h), of which a
//     degree from none to full is chosen; matrix products have one for each head
//   - affine ranges include zero, so that no zero point overflows
//   - an affine range may also be scaled at its upper end alone: SiLU's lower end, -0.278, is a hard bound
//   that
//     many values are near to
//   - at the end, biases take back the shift of the means (bias_correction.h): on MobileViTv1-XXS at W6A6
//   that is a
//     point of top-1
#include "quant/methods/search_network.h"

namespace qhv {
namespace {

struct Freedom {
  bool granularity = true, scheme = true;
};

SearchSpace space_of(const Node& node, const SeenNode& seen, const Calibration& calibration,
                     Freedom freedom) {
  SearchSpace space;
  const bool product = std::holds_alternative<MatMul>(node.op);
  const bool channels = product || (freedom.granularity && is_depthwise(node));
  for (const SeenInput& input : seen.inputs) {
    std::vector<Family>& families = space.inputs.emplace_back();
    std::vector<Scheme> schemes{Scheme::kSymmetric};
    if (freedom.scheme) schemes = {Scheme::kAffine, Scheme::kAffineUpper, Scheme::kSymmetric};
    for (const Scheme scheme : schemes) {
      families.push_back(input_family(scheme, Granularity::kTensor, input, calibration.abits));
      if (channels) families.push_back(input_family(scheme, Granularity::kChannel, input, calibration.abits));
    }
  }
  if (seen.weight.empty()) return space;
  for (const Scheme scheme : {Scheme::kSymmetric, Scheme::kAffine}) {
    if (scheme == Scheme::kAffine && !freedom.scheme) continue;
    if (freedom.granularity)
      space.weight.push_back(weight_family(scheme, Granularity::kChannel, seen, calibration.wbits));
    space.weight.push_back(weight_family(scheme, Granularity::kTensor, seen, calibration.wbits));
  }
  return space;
}

}  // namespace

QuantizedGraph quantize_qhyvit(const Graph& graph, const Calibration& calibration) {
  return search_network(graph, calibration,
                        {.method = "qhyvit",
                         .signal = calibration.signal,
                         .equalizations = {0, 0.25, 0.5, 0.75, 1},
                         .grid = {.flavour = calibration.flavour},
                         .corrects_biases = true,
                         .space = [](const Node& node, const SeenNode& seen, const Calibration& c) {
                           return space_of(node, seen, c, {});
                         }});
}

}  // namespace qhv
