#include "experiments/layer_table.h"

#include <algorithm>
#include <cstdio>

namespace qhv {
namespace {

using nlohmann::json;

/// "3" or "0 .. 12"
template <typename T>
std::string span_text(const std::vector<T>& values, const char* format) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  char text[64];
  std::snprintf(text, sizeof text, format, double(*low));
  std::string result = text;
  if (*low != *high) {
    std::snprintf(text, sizeof text, format, double(*high));
    result += concat(" .. ", text);
  }
  return result;
}

bool in_bridge(const Graph& graph, const std::string& name) {
  const int node = find_node(graph, name);
  return std::ranges::any_of(graph.blocks, [&](const Block& block) {
    return block.kind == BlockKind::kBridge && node >= block.begin && node < block.end;
  });
}

}  // namespace

std::vector<PlannedTensor> tensors_of(const QuantPlan& plan) {
  std::vector<PlannedTensor> tensors;
  for (const LayerPlan& layer : plan.layers) {
    for (std::size_t i = 0; i < layer.inputs.size(); ++i)
      tensors.push_back({&layer, i == 0 ? "input" : concat("input ", i), &layer.inputs[i]});
    if (layer.weight) tensors.push_back({&layer, "weight", &*layer.weight});
  }
  return tensors;
}

std::string granularity_text(const PlannedTensor& tensor) {
  const std::string name = granularity_name(tensor.plan->quantizer);
  if (name == "channel" && tensor.layer->op == "matmul") return "head";
  if (name == "channel" && !tensor.layer->equalization.empty() && tensor.name != "weight") return "equalised";
  return name;
}

std::string scale_text(const PlannedTensor& tensor) {
  const QParams* q = std::get_if<QParams>(&tensor.plan->quantizer);
  return q ? span_text(q->scale, "%.4g") : "";
}

std::string score_text(const LayerPlan& layer) {
  if (!layer.score) return "";
  char text[32];
  std::snprintf(text, sizeof text, "x%.3f",
                layer.score->before > 0 ? layer.score->after / layer.score->before : 1.0);
  return text;
}

std::string layer_table(const QuantPlan& plan, const Graph& graph) {
  std::string table;
  char line[320];
  std::snprintf(line, sizeof line, "%-40s %-6s %-7s %-8s %-9s %-9s %4s  %-24s %-10s %8s %8s %7s %7s %10s\n",
                "layer", "block", "op", "tensor", "scheme", "by", "bits", "scale", "zero point", "overflow",
                "clipped", "dB", "out dB", "objective");
  table += line;
  for (const PlannedTensor& tensor : tensors_of(plan)) {
    const LayerPlan& layer = *tensor.layer;
    const TensorPlan& t = *tensor.plan;
    const QParams* q = std::get_if<QParams>(&t.quantizer);
    std::snprintf(
        line, sizeof line, "%-40s %-6s %-7s %-8s %-9s %-9s %4d  %-24s %-10s %8d %7.3f%% %7.2f %7.2f %10s\n",
        layer.node.c_str(), in_bridge(graph, layer.node) ? "bridge" : "", layer.op.c_str(),
        tensor.name.c_str(), scheme_name(t.quantizer), granularity_text(tensor).c_str(),
        bit_width(t.quantizer), scale_text(tensor).c_str(), q ? span_text(q->zero_point, "%.0f").c_str() : "",
        t.overflows, 100 * t.saturation, t.sqnr_db, layer.sqnr_db, score_text(layer).c_str());
    table += line;
  }
  return table;
}

json layers_json(const QuantPlan& plan, const Graph& graph) {
  json rows = json::array();
  for (const PlannedTensor& tensor : tensors_of(plan)) {
    const LayerPlan& layer = *tensor.layer;
    const TensorPlan& t = *tensor.plan;
    const QParams* q = std::get_if<QParams>(&t.quantizer);
    rows.push_back({{"name", layer.node},
                    {"operator", layer.op},
                    {"tensor", tensor.name},
                    {"scheme", scheme_name(t.quantizer)},
                    {"bridge", in_bridge(graph, layer.node)},
                    {"granularity", granularity_text(tensor)},
                    {"bits", bit_width(t.quantizer)},
                    {"scale", q ? q->scale : std::vector<float>()},
                    {"zero_point", q ? q->zero_point : std::vector<std::int32_t>()},
                    {"overflows", t.overflows},
                    {"saturation", t.saturation},
                    {"sqnr_db", t.sqnr_db},
                    {"layer_sqnr_db", layer.sqnr_db}});
    if (layer.score)
      rows.back()["score"] = {{"default", layer.score->before},
                              {"chosen", layer.score->after},
                              {"evaluations", layer.score->evaluations},
                              {"plain_evaluations", layer.score->plain_evaluations}};
  }
  return rows;
}

}  // namespace qhv
