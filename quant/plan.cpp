#include "quant/plan.h"

#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "nn/shapes.h"
#include "tensor/untrusted.h"
#include "tensor/untrusted_json.h"

namespace qhv {
namespace {

using nlohmann::json;

/// JSON has no infinity; a tensor without noise is written as null.
json decibels(double db) { return std::isfinite(db) ? json(db) : json(nullptr); }
double decibels(const json& value) {
  return value.is_null() ? std::numeric_limits<double>::infinity() : value.get<double>();
}

/// The number with the fewest digits that is read as this float. As the double that it is it had 17, and most
/// of a plan are scales.
json shortest(float x) {
  char text[32];
  const char* end = std::to_chars(text, std::end(text), x).ptr;
  double shorter = 0;
  std::from_chars(text, end, shorter);
  return float(shorter) == x ? shorter : double(x);
}

json shortest(const std::vector<float>& values) {
  json list = json::array();
  for (const float x : values) list.push_back(shortest(x));
  return list;
}

struct ToJson {
  json operator()(const Unquantized&) const { return {{"kind", "float"}}; }
  json operator()(const QParams& q) const {
    return {{"kind", "uniform"}, {"scale", shortest(q.scale)}, {"zero_point", q.zero_point},
            {"axis", q.axis},    {"group", q.group},           {"qmin", q.qmin},
            {"qmax", q.qmax}};
  }
  json operator()(const TwinUniform& q) const {
    return {{"kind", "twin"},       {"split", q.split},         {"low", q.low_scale},
            {"high", q.high_scale}, {"low_codes", q.low_codes}, {"high_codes", q.high_codes}};
  }
  json operator()(const LogUniform& q) const {
    return {{"kind", "log"}, {"scale", q.scale}, {"steps_per_octave", q.steps_per_octave}, {"last", q.last}};
  }
};

Quantizer quantizer_of(const json& j, const std::string& where) {
  const auto whole = [&](const char* field) { return whole_number<std::int32_t>(j.at(field), where, field); };
  const std::string kind = j.at("kind");
  if (kind == "float") return Unquantized{};
  if (kind == "uniform")
    return QParams{j.value("scale", std::vector<float>()),
                   whole_numbers<std::int32_t>(j.at("zero_point"), where, "zero_point"),
                   whole("axis"),
                   whole("qmin"),
                   whole("qmax"),
                   whole("group")};
  if (kind == "twin")
    return TwinUniform{j.at("split"), j.at("low"), j.at("high"), whole("low_codes"), whole("high_codes")};
  if (kind == "log") return LogUniform{j.at("scale"), whole("steps_per_octave"), whole("last")};
  file_error(where, "a quantiser of the unknown kind ", in_quotes(kind));
}

json to_json(const TensorPlan& t) {
  json j = std::visit(ToJson{}, t.quantizer);
  j["sqnr_db"] = decibels(t.sqnr_db);
  j["saturation"] = t.saturation;
  j["overflows"] = t.overflows;
  return j;
}

TensorPlan tensor_plan(const json& j, const std::string& where) {
  return {quantizer_of(j, where), decibels(j.at("sqnr_db")), j.at("saturation"),
          whole_number<int>(j.at("overflows"), where, "overflows")};
}

LayerPlan layer_plan(const json& j, const std::string& path) {
  LayerPlan layer{.node = j.at("node"), .op = "", .inputs = {}};
  const std::string where = concat(path, ": layer ", in_quotes(layer.node));
  try {
    layer.op = j.at("op");
    layer.sqnr_db = decibels(j.at("sqnr_db"));
    for (const json& input : j.at("inputs")) layer.inputs.push_back(tensor_plan(input, where));
    if (j.contains("weight")) layer.weight = tensor_plan(j.at("weight"), where);
    if (j.contains("equalization")) layer.equalization = j.at("equalization").get<std::vector<float>>();
    if (j.contains("score")) {
      const json& s = j.at("score");
      const auto count = [&](const char* field) {
        return whole_number<std::int64_t>(s.at(field), where, field);
      };
      layer.score = {s.at("before"), s.at("after"), count("evaluations"), count("plain_evaluations")};
    }
    return layer;
  } catch (const json::exception& error) {
    file_error(where, "malformed plan (", error.what(), ")");
  }
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

struct IsFullOnly {
  bool operator()(const Silu&) const { return true; }
  bool operator()(const Softmax&) const { return true; }
  bool operator()(const Mul&) const { return true; }
  bool operator()(const GlobalAvgPool&) const { return true; }
  bool operator()(const LayerNorm&) const { return true; }
  bool operator()(const GroupNorm&) const { return true; }
  bool operator()(const Add&) const { return true; }
  bool operator()(const ResizeBilinear&) const { return true; }
  template <typename Other>
  bool operator()(const Other&) const {
    return false;
  }
};

bool is_quantizable(const Node& node) { return std::visit(IsQuantizable{}, node.op); }
bool is_full_only(const Node& node) { return std::visit(IsFullOnly{}, node.op); }

std::vector<int> nodes_that(const Graph& graph, bool (*are)(const Node&)) {
  std::vector<int> nodes;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    if (are(graph.nodes[i])) nodes.push_back(int(i));
  return nodes;
}

ReconstructionTrace reconstruction_trace(const json& j, const std::string& where) {
  ReconstructionTrace trace{j.at("kind"), whole_number<int>(j.at("images"), where, "images"), {}};
  for (const json& p : j.at("pieces")) {
    const auto count = [&](const char* field) {
      return whole_number<std::int64_t>(p.at(field), where, field);
    };
    trace.pieces.push_back({p.at("name"), p.at("before"), p.at("corrected"), p.at("after"), count("flipped"),
                            count("free"), p.at("regularizer"),
                            whole_number<int>(p.at("iterations"), where, "iterations"), p.at("kept"),
                            p.at("diverged")});
  }
  return trace;
}

}  // namespace

std::vector<int> quantizable_nodes(const Graph& graph) { return nodes_that(graph, is_quantizable); }

std::vector<int> full_nodes(const Graph& graph) { return nodes_that(graph, is_full_only); }

bool has_weight(const Node& node) { return is_quantizable(node) && !node.params.empty(); }

bool is_depthwise(const Node& node) {
  const auto* conv = std::get_if<Conv2d>(&node.op);
  return conv && conv->geometry.groups > 1 && conv->geometry.groups == conv->in && conv->in == conv->out;
}

json reconstruction_to_json(const ReconstructionTrace& trace) {
  json pieces = json::array();
  for (const PieceTrace& p : trace.pieces)
    pieces.push_back({{"name", p.name},
                      {"before", p.before},
                      {"corrected", p.corrected},
                      {"after", p.after},
                      {"flipped", p.flipped},
                      {"free", p.free},
                      {"regularizer", p.regularizer},
                      {"iterations", p.iterations},
                      {"kept", p.kept},
                      {"diverged", p.diverged}});
  return {{"kind", trace.kind}, {"images", trace.images}, {"pieces", pieces}};
}

json plan_to_json(const QuantPlan& plan) {
  json layers = json::array();
  for (const LayerPlan& layer : plan.layers) {
    json inputs = json::array();
    for (const TensorPlan& input : layer.inputs) inputs.push_back(to_json(input));
    json j{{"node", layer.node}, {"op", layer.op}, {"inputs", inputs}, {"sqnr_db", decibels(layer.sqnr_db)}};
    if (layer.weight) j["weight"] = to_json(*layer.weight);
    if (!layer.equalization.empty()) j["equalization"] = shortest(layer.equalization);
    if (layer.score)
      j["score"] = {{"before", layer.score->before},
                    {"after", layer.score->after},
                    {"evaluations", layer.score->evaluations},
                    {"plain_evaluations", layer.score->plain_evaluations}};
    layers.push_back(std::move(j));
  }
  const json made{{"images", plan.made.images},
                  {"seed", plan.made.seed},
                  {"signal", plan.made.signal},
                  {"search", plan.made.search}};
  json j{{"method", plan.method}, {"wbits", plan.wbits}, {"abits", plan.abits},
         {"full", plan.full},     {"made", made},        {"layers", layers}};
  if (plan.reconstruction.kind != "none") j["reconstruction"] = reconstruction_to_json(plan.reconstruction);
  return j;
}

QuantPlan plan_from_json(const json& j, const std::string& where) {
  try {
    const auto whole = [&](const char* field) { return whole_number<int>(j.at(field), where, field); };
    QuantPlan plan{j.at("method"), whole("wbits"), whole("abits"), {}, j.at("full")};
    const json& made = j.at("made");
    plan.made = {whole_number<int>(made.at("images"), where, "images"),
                 whole_number<std::uint64_t>(made.at("seed"), where, "seed"), made.at("signal"),
                 made.at("search")};
    if (j.contains("reconstruction"))
      plan.reconstruction = reconstruction_trace(j.at("reconstruction"), where);
    for (const json& layer : j.at("layers")) plan.layers.push_back(layer_plan(layer, where));
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
    require((is_quantizable(node) || is_full_only(node)) && layer.op == op_name(node.op), layer.node,
            "the plan is for ", in_quotes(layer.op), ", the layer is ", op_name(node.op));
    require(layer.inputs.size() == node.inputs.size(), layer.node, layer.inputs.size(), " input plans for ",
            node.inputs.size(), " inputs");
    for (std::size_t i = 0; i < layer.inputs.size(); ++i)
      validate(layer.inputs[i].quantizer, shapes[std::size_t(node.inputs[i])],
               concat(layer.node, ", input ", i));
    require(layer.weight.has_value() == has_weight(node), layer.node,
            has_weight(node) ? "no plan for the weight" : "a plan for a weight that the layer does not have");
    if (!layer.weight) {
      require(layer.equalization.empty(), layer.node, "equalization without a weight");
      continue;
    }
    const Shape weight = parameter_shapes(node.op)[0].second;
    validate(uniform(layer.weight->quantizer, layer.node + ", weight"), weight, layer.node + ", weight");
    require(layer.equalization.empty() || std::int64_t(layer.equalization.size()) == weight[1], layer.node,
            layer.equalization.size(), " factors of equalization for ", weight[1], " input channels");
    for (const float a : layer.equalization)
      require(std::isfinite(a) && a > 0, layer.node, "factor of equalization ", a);
  }
  for (const int node : quantizable_nodes(graph))
    require(seen.contains(graph.nodes[std::size_t(node)].name), graph.nodes[std::size_t(node)].name,
            "no plan for this layer");
  for (const int node : full_nodes(graph))
    require(
        seen.contains(graph.nodes[std::size_t(node)].name) == plan.full, graph.nodes[std::size_t(node)].name,
        plan.full ? "no plan for this node of a full plan" : "a plan for this node, but the plan is partial");
}

}  // namespace qhv
