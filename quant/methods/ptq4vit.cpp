// PTQ4ViT (arXiv 2111.12293): a search over symmetric scales, 0.01 to 1.2 times that of the seen range, by
// the squared error of a layer's output weighted with the squared gradient of the loss (equation 7); weights,
// then inputs, three rounds. Convolution weights have a scale for each output channel, linear weights one,
// joint q-k-v projections three, operands of matrix products one for each head. After a softmax and after
// SiLU the range is twin (section 3.2).
//
// Not as in its public code: the gradient is that of the quantised network (Algorithm 1 of Q-HyViT; see
// sensitivity.h), a value belongs to one of the two ranges (the code adds both parts), SiLU's lower range
// ends at SiLU's minimum (the code has GELU's), and depthwise weights are scored by their own channels.
#include <cmath>

#include "quant/methods/search_network.h"

namespace qhv {
namespace {

constexpr int kSoftmaxSplits = 12;  // 2^-1 .. 2^-12
constexpr int kSiluOctaves = 12;    // the upper step is 2^0 .. 2^12 times the lower one

Family twin_family(bool after_softmax, int bits) {
  Family family{.bits = bits};
  if (after_softmax)
    for (int i = 1; i <= kSoftmaxSplits; ++i)
      family.listed.push_back(twin_softmax(std::ldexp(1.0f, -i), bits));
  else
    for (int m = 0; m <= kSiluOctaves; ++m) family.listed.push_back(twin_silu(m, bits));
  return family;
}

SearchSpace space_of(const Graph& graph, const Node& node, const SeenNode& seen, const Calibration& c) {
  const LayerBits bits = c.bits_of(node);
  SearchSpace space;
  for (std::size_t slot = 0; slot < seen.inputs.size(); ++slot) {
    const Op& source = graph.nodes[std::size_t(node.inputs[slot])].op;
    const bool softmax = std::holds_alternative<Softmax>(source), silu = std::holds_alternative<Silu>(source);
    const Granularity granularity =
        std::holds_alternative<MatMul>(node.op) ? Granularity::kChannel : Granularity::kTensor;
    space.inputs.push_back(
        {softmax || silu ? twin_family(softmax, bits.input)
                         : input_family(Scheme::kSymmetric, granularity, seen.inputs[slot], bits.input)});
  }
  if (seen.weight.empty()) return space;
  space.weight.push_back(operator_weight_family(node, seen, bits.weight));
  return space;
}

}  // namespace

QuantizedGraph quantize_ptq4vit(const Graph& graph, const Calibration& calibration) {
  return search_network(graph, calibration,
                        {.method = "ptq4vit",
                         .signal = calibration.signal.value_or(Signal::kQuantized),
                         .bridges = false,
                         .grid = {.flavour = calibration.flavour},
                         .space = [&](const Node& node, const SeenNode& seen, const Calibration& c) {
                           return space_of(graph, node, seen, c);
                         }});
}

}  // namespace qhv
