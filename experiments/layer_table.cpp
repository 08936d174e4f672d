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

}  // namespace

std::string layer_table(const QuantPlan& plan) {
  std::string table;
  char line[256];
  std::snprintf(line, sizeof line, "%-40s %-7s %-8s %-9s %-8s %4s  %-24s %-10s %7s %7s\n", "layer", "op",
                "tensor", "scheme", "by", "bits", "scale", "zero point", "dB", "out dB");
  table += line;
  for_each_tensor(plan, [&](const LayerPlan& layer, const std::string& tensor, const TensorPlan& t) {
    const QParams& q = t.qparams;
    std::snprintf(line, sizeof line, "%-40s %-7s %-8s %-9s %-8s %4d  %-24s %-10s %7.2f %7.2f\n",
                  layer.node.c_str(), layer.op.c_str(), tensor.c_str(), scheme_name(q), granularity_name(q),
                  bit_width(q), span_text(q.scale, "%.4g").c_str(), span_text(q.zero_point, "%.0f").c_str(),
                  t.sqnr_db, layer.sqnr_db);
    table += line;
  });
  return table;
}

json layers_json(const QuantPlan& plan) {
  json rows = json::array();
  for_each_tensor(plan, [&](const LayerPlan& layer, const std::string& tensor, const TensorPlan& t) {
    rows.push_back({{"name", layer.node},
                    {"operator", layer.op},
                    {"tensor", tensor},
                    {"scheme", scheme_name(t.qparams)},
                    {"granularity", granularity_name(t.qparams)},
                    {"bits", bit_width(t.qparams)},
                    {"scale", t.qparams.scale},
                    {"zero_point", t.qparams.zero_point},
                    {"sqnr_db", t.sqnr_db},
                    {"layer_sqnr_db", layer.sqnr_db}});
  });
  return rows;
}

}  // namespace qhv
