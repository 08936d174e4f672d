#include "quant/integer/planned_layers.h"

#include <algorithm>

#include "nn/shapes.h"
#include "quant/integer/planes.h"

namespace qhv {
namespace {

constexpr const char* kWhere = "integer engine";

}  // namespace

PlannedLayers::PlannedLayers(const Graph& graph, const QuantPlan& plan)
    : graph_(graph), plan_(plan), shapes_(infer_shapes(graph)), layer_of_(graph.nodes.size(), -1) {
  for (std::size_t i = 0; i < plan.layers.size(); ++i)
    layer_of_[std::size_t(find_node(graph, plan.layers[i].node))] = int(i);
}

void PlannedLayers::unsupported(int node, const std::string& why) const {
  const Node& n = graph_.nodes[std::size_t(node)];
  fail(kWhere, concat(op_name(n.op), ' ', n.name, ' ', why));
}

std::string PlannedLayers::where(int node) const {
  return concat(kWhere, ": ", graph_.nodes[std::size_t(node)].name);
}

const LayerPlan& PlannedLayers::layer(int node) const {
  const int index = layer_of_[std::size_t(node)];
  if (index < 0) unsupported(node, "has no plan");
  return plan_.layers[std::size_t(index)];
}

bool PlannedLayers::is_integer_product(int node) const {
  const Op& op = graph_.nodes[std::size_t(node)].op;
  const bool multiplies = std::holds_alternative<Conv2d>(op) || std::holds_alternative<Linear>(op) ||
                          std::holds_alternative<MatMul>(op);
  return multiplies && layer_of_[std::size_t(node)] >= 0 &&
         std::ranges::all_of(layer(node).inputs, [](const TensorPlan& input) {
           return std::holds_alternative<QParams>(input.quantizer);
         });
}

// Heads and channels are axis 1 of four; rows of tokens end in their channels.
int PlannedLayers::channel_axis(int node) const { return shape(node).size() == 3 ? 2 : 1; }

std::int64_t PlannedLayers::channels(int node) const { return shape(node)[std::size_t(channel_axis(node))]; }

std::int64_t PlannedLayers::rows(int node) const { return element_count(shape(node)) / channels(node); }

Encoding PlannedLayers::encoding(Edge edge, std::int64_t columns) const {
  const Node& node = graph_.nodes[std::size_t(edge.node)];
  const Quantizer& quantizer = layer(edge.node).inputs[std::size_t(edge.slot)].quantizer;
  const auto* q = std::get_if<QParams>(&quantizer);
  if (!q)
    unsupported(edge.node, concat("reads input ", edge.slot, " with a ", scheme_name(quantizer),
                                  " quantiser, which has no integer arithmetic here"));
  const int read = node.inputs[std::size_t(edge.slot)];
  if (q->axis >= 0 && q->axis != channel_axis(read))
    unsupported(edge.node, concat("has parameters for axis ", q->axis, " of ", shape(read)));
  return encoding_of(*q, columns, concat(where(edge.node), ", input ", edge.slot));
}

std::vector<Encoding> PlannedLayers::encodings(Edge edge, std::int64_t columns) const {
  const Op& op = graph_.nodes[std::size_t(edge.node)].op;
  const bool has_weight = std::holds_alternative<Conv2d>(op) || std::holds_alternative<Linear>(op);
  const auto* twin = std::get_if<TwinUniform>(&layer(edge.node).inputs[std::size_t(edge.slot)].quantizer);
  if (!has_weight || !twin) return {encoding(edge, columns)};
  const auto planes = twin_encodings(*twin, columns, concat(where(edge.node), ", input ", edge.slot));
  return {planes.begin(), planes.end()};
}

Encoding PlannedLayers::byte_encoding(Edge edge, std::int64_t columns) const {
  Encoding e = encoding(edge, columns);
  if (e.type != CodeType::kU8) unsupported(edge.node, concat("reads input ", edge.slot, " with 16 bits"));
  return e;
}

std::vector<int> float_islands(const Graph& graph, const QuantPlan& plan) {
  if (plan.full) return {};
  const PlannedLayers layers(graph, plan);
  std::vector<int> islands = full_nodes(graph);
  for (const int node : quantizable_nodes(graph))
    if (!layers.is_integer_product(node)) islands.push_back(node);
  std::ranges::sort(islands);
  return islands;
}

}  // namespace qhv
