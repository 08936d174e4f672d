#include "quant/plan.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "nn/shapes.h"

namespace qhv {
namespace {

using nlohmann::json;

/// JSON has no infinity; a tensor without noise is written as null.
json decibels(double db) { return std::isfinite(db) ? json(db) : json(nullptr); }
double decibels(const json& value) {
  return value.is_null() ? std::numeric_limits<double>::infinity() : value.get<double>();
}

json to_json(const TensorPlan& t) {
  const QParams& q = t.qparams;
  return {{"scale", q.scale}, {"zero_point", q.zero_point},    {"axis", q.axis}, {"qmin", q.qmin},
          {"qmax", q.qmax},   {"sqnr_db", decibels(t.sqnr_db)}};
}

TensorPlan tensor_plan(const json& j) {
  return {{j.at("scale").get<std::vector<float>>(), j.at("zero_point").get<std::vector<std::int32_t>>(),
           j.at("axis").get<int>(), j.at("qmin").get<std::int32_t>(), j.at("qmax").get<std::int32_t>()},
          decibels(j.at("sqnr_db"))};
}

struct IsQuantizable {
  bool operator()(const Conv2d&) const { return true; }
  bool operator()(const Linear&) const { return true; }
  bool operator()(const MatMul&) const { return true; }
  template <typename Other>
  bool operator()(const Other&) const {
    return false;
  }
};

bool is_quantizable(const Node& node) { return std::visit(IsQuantizable{}, node.op); }

}  // namespace

std::vector<int> quantizable_nodes(const Graph& graph) {
  std::vector<int> nodes;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    if (is_quantizable(graph.nodes[i])) nodes.push_back(int(i));
  return nodes;
}

bool has_weight(const Node& node) { return is_quantizable(node) && !node.params.empty(); }

std::string plan_to_json(const QuantPlan& plan) {
  json layers = json::array();
  for (const LayerPlan& layer : plan.layers) {
    json inputs = json::array();
    for (const TensorPlan& input : layer.inputs) inputs.push_back(to_json(input));
    json j{{"node", layer.node}, {"op", layer.op}, {"inputs", inputs}, {"sqnr_db", decibels(layer.sqnr_db)}};
    if (layer.weight) j["weight"] = to_json(*layer.weight);
    layers.push_back(std::move(j));
  }
  return json{{"method", plan.method}, {"wbits", plan.wbits}, {"abits", plan.abits}, {"layers", layers}}
      .dump();
}

QuantPlan plan_from_json(const std::string& text, const std::string& where) {
  try {
    const json j = json::parse(text);
    QuantPlan plan{j.at("method"), j.at("wbits"), j.at("abits"), {}};
    for (const json& l : j.at("layers")) {
      LayerPlan layer{l.at("node"), l.at("op"), {}, {}, decibels(l.at("sqnr_db"))};
      for (const json& input : l.at("inputs")) layer.inputs.push_back(tensor_plan(input));
      if (l.contains("weight")) layer.weight = tensor_plan(l.at("weight"));
      plan.layers.push_back(std::move(layer));
    }
    return plan;
  } catch (const json::exception& error) {
    file_error(where, "malformed plan (", error.what(), ")");
  }
}

void validate(const QuantPlan& plan, const Graph& graph) {
  const std::vector<Shape> shapes = infer_shapes(graph);
  std::set<std::string> seen;
  for (const LayerPlan& layer : plan.layers) {
    require(seen.insert(layer.node).second, layer.node, "two plans for one layer");
    const Node& node = graph.nodes[std::size_t(find_node(graph, layer.node))];
    require(is_quantizable(node) && layer.op == op_name(node.op), layer.node, "the plan is for ", layer.op,
            ", the layer is ", op_name(node.op));
    require(layer.inputs.size() == node.inputs.size(), layer.node, layer.inputs.size(), " input plans for ",
            node.inputs.size(), " inputs");
    for (std::size_t i = 0; i < layer.inputs.size(); ++i)
      validate(layer.inputs[i].qparams, shapes[std::size_t(node.inputs[i])],
               concat(layer.node, ", input ", i));
    require(layer.weight.has_value() == has_weight(node), layer.node,
            has_weight(node) ? "no plan for the weight" : "a plan for a weight that the layer does not have");
    if (layer.weight)
      validate(layer.weight->qparams, graph.params[std::size_t(node.params[0])].value.shape(),
               layer.node + ", weight");
  }
}

}  // namespace qhv
