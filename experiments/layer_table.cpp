#include "experiments/layer_table.h"

#include <algorithm>
#include <cstdio>
#include <functional>

namespace qhv {
namespace {

using nlohmann::json;

void for_each_tensor(
    const QuantPlan& plan,
    const std::function<void(const LayerPlan&, const std::string& tensor, const TensorPlan&)>& row) {
  for (const LayerPlan& layer : plan.layers) {
    for (std::size_t i = 0; i < layer.inputs.size(); ++i)
      row(layer, i == 0 ? "input" : concat("input ", i), layer.inputs[i]);
    if (layer.weight) row(layer, "weight", *layer.weight);
  }
}

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

/// "tensor", "channel", "group", "head" for an operand of a matrix product, "equalised" where the channels'
/// scales stand in the weight.
std::string granularity_text(const LayerPlan& layer, const TensorPlan& t) {
  const std::string name = granularity_name(t.quantizer);
  if (name == "channel" && layer.op == "matmul") return "head";
  if (name == "channel" && !layer.equalization.empty() && &t != &*layer.weight) return "equalised";
  return name;
}

bool in_bridge(const Graph& graph, const std::string& name) {
  const int node = find_node(graph, name);
  return std::ranges::any_of(graph.blocks, [&](const Block& block) {
    return block.kind == BlockKind::kBridge && node >= block.begin && node < block.end;
  });
}

/// The objective as a share of what it was at the default parameters.
std::string score_text(const SearchScore& score) {
  char text[32];
  std::snprintf(text, sizeof text, "x%.3f", score.before > 0 ? score.after / score.before : 1.0);
  return text;
}

}  // namespace

std::string layer_table(const QuantPlan& plan, const Graph& graph) {
  std::string table;
  char line[320];
  std::snprintf(line, sizeof line, "%-40s %-6s %-7s %-8s %-9s %-9s %4s  %-24s %-10s %8s %8s %7s %7s %10s\n",
                "layer", "block", "op", "tensor", "scheme", "by", "bits", "scale", "zero point", "overflow",
                "clipped", "dB", "out dB", "objective");
  table += line;
  for_each_tensor(plan, [&](const LayerPlan& layer, const std::string& tensor, const TensorPlan& t) {
    const QParams* q = std::get_if<QParams>(&t.quantizer);
    std::snprintf(line, sizeof line,
                  "%-40s %-6s %-7s %-8s %-9s %-9s %4d  %-24s %-10s %8d %7.3f%% %7.2f %7.2f %10s\n",
                  layer.node.c_str(), in_bridge(graph, layer.node) ? "bridge" : "", layer.op.c_str(),
                  tensor.c_str(), scheme_name(t.quantizer), granularity_text(layer, t).c_str(),
                  bit_width(t.quantizer), q ? span_text(q->scale, "%.4g").c_str() : "",
                  q ? span_text(q->zero_point, "%.0f").c_str() : "", t.overflows, 100 * t.saturation,
                  t.sqnr_db, layer.sqnr_db, layer.score ? score_text(*layer.score).c_str() : "");
    table += line;
  });
  return table;
}

json layers_json(const QuantPlan& plan, const Graph& graph) {
  json rows = json::array();
  for_each_tensor(plan, [&](const LayerPlan& layer, const std::string& tensor, const TensorPlan& t) {
    const QParams* q = std::get_if<QParams>(&t.quantizer);
    rows.push_back({{"name", layer.node},
                    {"operator", layer.op},
                    {"tensor", tensor},
                    {"scheme", scheme_name(t.quantizer)},
                    {"bridge", in_bridge(graph, layer.node)},
                    {"granularity", granularity_text(layer, t)},
                    {"bits", bit_width(t.quantizer)},
                    {"scale", q ? q->scale : std::vector<float>()},
                    {"zero_point", q ? q->zero_point : std::vector<std::int32_t>()},
                    {"overflows", t.overflows},
                    {"saturation", t.saturation},
                    {"sqnr_db", t.sqnr_db},
                    {"layer_sqnr_db", layer.sqnr_db}});
    if (layer.score)
      rows.back()["score"] = {{"default", layer.score->before}, {"chosen", layer.score->after}};
  });
  return rows;
}

}  // namespace qhv
