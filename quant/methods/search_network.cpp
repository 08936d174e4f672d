#include "quant/methods/search_network.h"

#include <algorithm>
#include <limits>

#include "nn/shapes.h"
#include "quant/bias_correction.h"
#include "quant/equalize.h"
#include "quant/fake_quant.h"
#include "quant/full.h"

namespace qhv {
namespace {

const Tensor& weight_of(const Graph& graph, int node) {
  return graph.params[std::size_t(graph.nodes[std::size_t(node)].params[0])].value;
}

/// Of all quantizable nodes, by node index.
std::vector<SeenNode> see_nodes(const Graph& graph, const Calibration& calibration) {
  const std::vector<Shape> shapes = infer_shapes(graph);
  std::vector<ObservedEdge> edges = quantizable_edges(graph);
  for (ObservedEdge& e : edges) {
    const Node& node = graph.nodes[std::size_t(e.edge.node)];
    const int rank = int(shapes[std::size_t(node.inputs[std::size_t(e.edge.slot)])].size());
    e.axis = std::holds_alternative<Linear>(node.op) ? rank - 1 : 1;
  }
  const std::vector<std::vector<Range>> ranges = observe_ranges(graph, edges, calibration);
  Calibration half = calibration;
  half.images = calibration.images.first((calibration.images.size() + 1) / 2);
  const std::vector<std::vector<Range>> half_ranges = observe_ranges(graph, edges, half);
  std::vector<SeenNode> seen(graph.nodes.size());
  for (std::size_t i = 0; i < edges.size(); ++i)
    seen[std::size_t(edges[i].edge.node)].inputs.push_back({edges[i].axis, ranges[i], half_ranges[i]});
  for (const int node : quantizable_nodes(graph))
    if (has_weight(graph.nodes[std::size_t(node)]))
      seen[std::size_t(node)].weight = channel_ranges(weight_of(graph, node), 0);
  return seen;
}

/// The same node with its input channels equalised.
SeenNode equalized(const Graph& graph, int node, const SeenNode& seen, double exponent) {
  SeenNode result = seen;
  if (exponent == 0) return result;
  SeenInput& input = result.inputs[0];
  input.equalization = equalization(input.half_ranges, exponent);
  for (std::size_t c = 0; c < input.ranges.size(); ++c) {
    input.ranges[c].lo /= double(input.equalization[c]);
    input.ranges[c].hi /= double(input.equalization[c]);
  }
  result.weight = channel_ranges(multiply_channels(weight_of(graph, node), input.equalization), 0);
  return result;
}

/// Every tensor by the first family that it may choose from, at the range that was seen.
LayerQuantizers start_of(const SearchSpace& space) {
  const auto first = [](const std::vector<Family>& families) -> Quantizer {
    const Family& family = families.front();
    if (!family.listed.empty()) return family.listed.front();
    return member(family, std::vector<double>(family.ranges.size(), 1.0));
  };
  LayerQuantizers start;
  for (const std::vector<Family>& families : space.inputs) start.inputs.push_back(first(families));
  if (!space.weight.empty()) start.weight = first(space.weight);
  return start;
}

/// Whether an earlier run has found the unit.
bool is_found(const Graph& graph, const Unit& unit, const QuantPlan& plan) {
  return std::ranges::all_of(unit.layers, [&](int node) {
    return std::ranges::count(plan.layers, graph.nodes[std::size_t(node)].name, &LayerPlan::node);
  });
}

void put_into_plan(const Graph& graph, const Unit& unit, const std::vector<LayerQuantizers>& quantizers,
                   const SearchScore& score, QuantPlan& plan) {
  for (std::size_t i = 0; i < unit.layers.size(); ++i) {
    const Node& node = graph.nodes[std::size_t(unit.layers[i])];
    LayerPlan& layer = plan.layers.emplace_back();
    layer.node = node.name;
    layer.op = op_name(node.op);
    for (const Quantizer& input : quantizers[i].inputs) layer.inputs.push_back({input});
    if (has_weight(node)) layer.weight = TensorPlan{quantizers[i].weight};
    layer.equalization = quantizers[i].equalization;
    layer.score = score;
  }
}

/// One unit: equalization of each layer first, then the search.
class UnitSearch {
 public:
  UnitSearch(const Graph& graph, const Calibration& calibration, const SearchRecipe& recipe, const Unit& unit,
             std::span<const UnitSample> samples, const std::vector<SeenNode>& seen)
      : graph_(graph),
        calibration_(calibration),
        recipe_(recipe),
        unit_(unit),
        evaluator_(graph, unit, samples, recipe.metric, calibration.threads) {
    for (const int node : unit.layers) seen_.push_back(seen[std::size_t(node)]);
  }

  /// From equalized layers, and from the layers as they are only where that ends above the start.
  std::pair<std::vector<LayerQuantizers>, SearchScore> run() {
    std::vector<LayerQuantizers> start;
    for (const SearchSpace& space : spaces()) start.push_back(start_of(space));
    const std::vector<SeenNode> as_they_are = seen_;
    SearchScore total;
    total.before = total.after = evaluator_.objective(start);
    std::vector<LayerQuantizers> best = start;
    const auto search_from = [&](std::vector<LayerQuantizers> quantizers) {
      const SearchScore score = search_unit(evaluator_, unit_, quantizers, spaces(), recipe_.grid);
      total.plain_evaluations += score.plain_evaluations;
      if (score.after > total.after) return false;
      total.after = score.after;
      best = std::move(quantizers);
      return true;
    };
    std::vector<LayerQuantizers> quantizers = start;
    for (std::size_t layer = 0; layer < unit_.layers.size(); ++layer) equalize(layer, quantizers);
    if (!search_from(quantizers) && is_equalized(quantizers)) {
      seen_ = as_they_are;
      search_from(start);
    }
    total.evaluations = evaluator_.evaluations();
    total.plain_evaluations += memory_.plain_evaluations;
    return {std::move(best), total};
  }

 private:
  /// What each layer may choose from, as far as its ranges are known: after equalization, those of x / a.
  std::vector<SearchSpace> spaces() const {
    std::vector<SearchSpace> result;
    for (std::size_t layer = 0; layer < unit_.layers.size(); ++layer)
      result.push_back(recipe_.space(node(layer), seen_[layer], calibration_));
    return result;
  }
  const Node& node(std::size_t layer) const { return graph_.nodes[std::size_t(unit_.layers[layer])]; }

  static bool is_equalized(const std::vector<LayerQuantizers>& quantizers) {
    return std::ranges::any_of(quantizers, [](const LayerQuantizers& q) { return !q.equalization.empty(); });
  }

  /// The exponent under which the best input scale loses least, with min-max weights.
  void equalize(std::size_t layer, std::vector<LayerQuantizers>& quantizers) {
    if (recipe_.equalizations.empty() || !has_weight(node(layer)) || is_depthwise(node(layer))) return;
    double least = std::numeric_limits<double>::infinity(), least_coarse = least;
    const LayerBits bits = calibration_.bits_of(node(layer));
    LayerQuantizers best = quantizers[layer];
    SeenNode best_seen = seen_[layer];
    for (const double exponent : recipe_.equalizations) {
      const SeenNode seen = equalized(graph_, unit_.layers[layer], seen_[layer], exponent);
      std::vector<LayerQuantizers> trial = quantizers;
      trial[layer].equalization = seen.inputs[0].equalization;
      trial[layer].weight = symmetric_params(seen.weight, bits.weight, 0);
      const Family families[] = {
          input_family(Scheme::kAffine, Granularity::kTensor, seen.inputs[0], bits.input)};
      memory_.best.clear();
      Found found =
          search_operand(evaluator_, trial, {layer, 0}, false, families, recipe_.grid, memory_, least_coarse);
      least_coarse = std::min(least_coarse, found.coarse);
      if (found.objective >= least) continue;
      least = found.objective;
      best = trial[layer];
      best.inputs[0] = std::move(found.quantizer);
      best_seen = seen;
    }
    quantizers[layer] = std::move(best);
    seen_[layer] = std::move(best_seen);
  }

  const Graph& graph_;
  const Calibration& calibration_;
  const SearchRecipe& recipe_;
  const Unit& unit_;
  UnitEvaluator evaluator_;
  std::vector<SeenNode> seen_;  // by layer
  SearchMemory memory_;         // of equalization
};

}  // namespace

Family input_family(Scheme scheme, Granularity granularity, const SeenInput& seen, int bits) {
  if (granularity == Granularity::kChannel) return {scheme, seen.axis, 1, seen.ranges, bits};
  const bool spreads = !seen.equalization.empty();
  return {scheme, spreads ? seen.axis : -1, 1, merge_groups(seen.ranges, int(seen.ranges.size())),
          bits,   seen.equalization};
}

Family weight_family(Scheme scheme, Granularity granularity, const SeenNode& seen, int bits, int group) {
  if (granularity == Granularity::kChannel) return {scheme, 0, group, merge_groups(seen.weight, group), bits};
  return {scheme, -1, 1, merge_groups(seen.weight, int(seen.weight.size())), bits};
}

Family operator_weight_family(const Node& node, const SeenNode& seen, int bits, Scheme scheme) {
  const auto* linear = std::get_if<Linear>(&node.op);
  if (!linear) return weight_family(scheme, Granularity::kChannel, seen, bits);
  return node.name.ends_with(".qkv")
             ? weight_family(scheme, Granularity::kChannel, seen, bits, int(linear->out / 3))
             : weight_family(scheme, Granularity::kTensor, seen, bits);
}

QuantizedGraph search_network(const Graph& graph, const Calibration& calibration,
                              const SearchRecipe& recipe) {
  QuantizedGraph quantized{graph, {recipe.method, calibration.wbits, calibration.abits, {}}};
  const QuantizedGraph defaults = quantize_minmax(graph, calibration);
  QuantPlan& plan = quantized.plan;
  plan.made.signal = signal_name(recipe.signal);
  plan.made.search = flavour_name(recipe.grid.flavour);
  if (calibration.found) plan.layers = calibration.found->layers;
  std::vector<Unit> units = search_units(graph, recipe.bridges);
  const double count = double(units.size());
  std::erase_if(units, [&](const Unit& unit) { return is_found(graph, unit, plan); });
  double done = count - double(units.size());
  const std::vector<SeenNode> seen = see_nodes(graph, calibration);
  for (const std::vector<Unit>& portion : portions(graph, units, calibration.images.size())) {
    const auto samples =
        sample_units(graph, defaults, portion, calibration.images,
                     {.signal = recipe.signal, .seed = calibration.seed, .threads = calibration.threads});
    for (std::size_t u = 0; u < portion.size(); ++u) {
      const auto [quantizers, score] =
          UnitSearch(graph, calibration, recipe, portion[u], samples[u], seen).run();
      put_into_plan(graph, portion[u], quantizers, score, plan);
      done += 1;
      if (calibration.save) calibration.save(plan);
      if (calibration.progress) calibration.progress("search", done / count);
    }
  }
  quantize_weights(quantized.graph, plan);
  // Biases take back what all rounding shifts, so all of it has to be planned before.
  if (calibration.full) add_full_layers(plan, graph, calibration);
  if (recipe.corrects_biases) correct_biases(quantized, graph, calibration.images, calibration.threads);
  return quantized;
}

}  // namespace qhv
