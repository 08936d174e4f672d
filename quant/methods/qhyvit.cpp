// Q-HyViT (arXiv 2303.12557, section 3 and Algorithm 1): the joint search over scale, granularity and scheme
// for every layer, by how much errors matter to the answer, with bridge blocks judged by their output.
//
// Choices where the paper leaves one:
//   - activations have a scale for each channel where integer arithmetic permits it: before depthwise
//     convolutions by itself, before other layers with weights by equalization (equalize.h), of which a
//     degree from none to full is chosen; matrix products have one for each head
//   - affine ranges include zero, so that no zero point overflows
//   - an affine range may also be scaled at its upper end alone: SiLU's lower end, -0.278, is a hard
//     bound that many values are near to
//   - errors are weighed by the Fisher information, along its directions too (sensitivity.h). With the
//     squared gradients of Algorithm 1 (--signal quantized) MobileViTv2-050 at W8A8 was three times as far
//     from its float self
//   - at the end, biases take back the shift of the means (bias_correction.h): on MobileViTv1-XXS at
//     W6A6 that is a point of top-1
//
// The ablation of the paper (its table of scale, granularity, scheme and bridge) is the same code with fewer
// ingredients, each variant having one more than the one before.
#include "quant/methods/search_network.h"

namespace qhv {
namespace {

struct Ingredients {
  bool scale = false;        // searched; otherwise that of the range seen
  bool granularity = false;  // by tensor or by channel; otherwise the operator decides, as in PTQ4ViT
  bool scheme = false;       // symmetric or affine; otherwise symmetric
  bool bridges = false;      // judged by their output; otherwise each layer by its own
  bool fisher = false;       // errors weighed by the Fisher information; otherwise by Algorithm 1's gradients
  bool equalization = false;
  bool bias_correction = false;
};

constexpr Ingredients kEverything{true, true, true, true, true, true, true};

std::vector<Family> input_families(const SeenInput& input, bool by_channel, bool by_tensor, bool scheme,
                                   int bits) {
  std::vector<Scheme> schemes{Scheme::kSymmetric};
  if (scheme) schemes = {Scheme::kAffine, Scheme::kAffineUpper, Scheme::kSymmetric};
  std::vector<Family> families;
  for (const Scheme s : schemes) {
    if (by_channel) families.push_back(input_family(s, Granularity::kChannel, input, bits));
    if (by_tensor) families.push_back(input_family(s, Granularity::kTensor, input, bits));
  }
  return families;
}

std::vector<Family> weight_families(const Node& node, const SeenNode& seen, const Ingredients& with,
                                    int bits) {
  std::vector<Family> families;
  for (const Scheme scheme : {Scheme::kSymmetric, Scheme::kAffine}) {
    if (scheme == Scheme::kAffine && !with.scheme) continue;
    if (!with.granularity) {
      families.push_back(operator_weight_family(node, seen, bits, scheme));
      continue;
    }
    families.push_back(weight_family(scheme, Granularity::kChannel, seen, bits));
    families.push_back(weight_family(scheme, Granularity::kTensor, seen, bits));
  }
  return families;
}

SearchSpace space_of(const Node& node, const SeenNode& seen, const Calibration& calibration,
                     const Ingredients& with) {
  const LayerBits bits = calibration.bits_of(node);
  SearchSpace space;
  const bool product = std::holds_alternative<MatMul>(node.op);
  const bool by_channel = product || (with.granularity && is_depthwise(node));
  const bool by_tensor = !by_channel || with.granularity;
  for (const SeenInput& input : seen.inputs)
    space.inputs.push_back(input_families(input, by_channel, by_tensor, with.scheme, bits.input));
  if (!seen.weight.empty()) space.weight = weight_families(node, seen, with, bits.weight);
  return space;
}

QuantizedGraph quantize_with(const char* method, const Ingredients& with, const Graph& graph,
                             const Calibration& calibration) {
  SearchRecipe recipe{
      .method = method,
      .signal = calibration.signal.value_or(with.fisher ? Signal::kFisher : Signal::kQuantized),
      .bridges = with.bridges,
      .grid = {.flavour = calibration.flavour},
      .corrects_biases = with.bias_correction,
      .space = [&](const Node& node, const SeenNode& seen, const Calibration& c) {
        return space_of(node, seen, c, with);
      }};
  if (with.equalization) recipe.equalizations = {0, 0.25, 0.5, 0.75, 1};
  if (!with.scale) recipe.grid.alpha = recipe.grid.beta = recipe.grid.candidates = 1;
  return search_network(graph, calibration, recipe);
}

}  // namespace

QuantizedGraph quantize_qhyvit(const Graph& graph, const Calibration& calibration) {
  return quantize_with("qhyvit", kEverything, graph, calibration);
}

QuantizedGraph quantize_ablation_base(const Graph& graph, const Calibration& calibration) {
  return quantize_with("ablation-base", {}, graph, calibration);
}

QuantizedGraph quantize_ablation_scale(const Graph& graph, const Calibration& calibration) {
  return quantize_with("ablation-scale", {.scale = true}, graph, calibration);
}

QuantizedGraph quantize_ablation_granularity(const Graph& graph, const Calibration& calibration) {
  return quantize_with("ablation-granularity", {.scale = true, .granularity = true}, graph, calibration);
}

QuantizedGraph quantize_ablation_scheme(const Graph& graph, const Calibration& calibration) {
  return quantize_with("ablation-scheme", {.scale = true, .granularity = true, .scheme = true}, graph,
                       calibration);
}

QuantizedGraph quantize_ablation_bridge(const Graph& graph, const Calibration& calibration) {
  return quantize_with("ablation-bridge",
                       {.scale = true, .granularity = true, .scheme = true, .bridges = true}, graph,
                       calibration);
}

QuantizedGraph quantize_ablation_fisher(const Graph& graph, const Calibration& calibration) {
  Ingredients with = kEverything;
  with.equalization = with.bias_correction = false;
  return quantize_with("ablation-fisher", with, graph, calibration);
}

QuantizedGraph quantize_ablation_equalization(const Graph& graph, const Calibration& calibration) {
  Ingredients with = kEverything;
  with.bias_correction = false;
  return quantize_with("ablation-equalization", with, graph, calibration);
}

}  // namespace qhv
