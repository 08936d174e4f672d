#include "experiments/plan_difference.h"

#include <algorithm>
#include <cstdio>

namespace qhv {
namespace {

using nlohmann::json;

bool same_tensor(const PlannedTensor& a, const PlannedTensor& b) {
  return a.layer->node == b.layer->node && a.name == b.name;
}

bool same_parameters(const PlannedTensor& a, const PlannedTensor& b) {
  return a.plan->quantizer == b.plan->quantizer && a.layer->equalization == b.layer->equalization;
}

const PlannedTensor& either(const TensorDifference& d) { return d.a ? *d.a : *d.b; }

std::string cells(const std::optional<PlannedTensor>& tensor) {
  char text[160];
  if (tensor)
    std::snprintf(text, sizeof text, "%-9s %-9s %4d  %-24s %10s", scheme_name(tensor->plan->quantizer),
                  granularity_text(*tensor).c_str(), bit_width(tensor->plan->quantizer),
                  scale_text(*tensor).c_str(), score_text(*tensor->layer).c_str());
  else
    std::snprintf(text, sizeof text, "%-61s", "not quantised");
  return text;
}

json choice_json(const std::optional<PlannedTensor>& tensor) {
  if (!tensor) return nullptr;
  const QParams* q = std::get_if<QParams>(&tensor->plan->quantizer);
  json result{{"scheme", scheme_name(tensor->plan->quantizer)},
              {"granularity", granularity_text(*tensor)},
              {"bits", bit_width(tensor->plan->quantizer)},
              {"scale", q ? q->scale : std::vector<float>()}};
  if (const auto& score = tensor->layer->score)
    result["score"] = {{"default", score->before}, {"chosen", score->after}};
  return result;
}

}  // namespace

PlanDifference compare_plans(const QuantPlan& a, const QuantPlan& b) {
  PlanDifference difference;
  std::vector<PlannedTensor> others = tensors_of(b);
  for (const PlannedTensor& tensor : tensors_of(a)) {
    const auto other =
        std::ranges::find_if(others, [&](const PlannedTensor& t) { return same_tensor(t, tensor); });
    if (other == others.end())
      difference.tensors.push_back({tensor, {}});
    else {
      if (same_parameters(tensor, *other))
        ++difference.same;
      else
        difference.tensors.push_back({tensor, *other});
      others.erase(other);
    }
  }
  for (const PlannedTensor& tensor : others) difference.tensors.push_back({{}, tensor});
  for (const LayerPlan& layer : a.layers) {
    const auto other = std::ranges::find(b.layers, layer.node, &LayerPlan::node);
    if (other == b.layers.end() || !layer.score || !other->score) continue;
    difference.better_a += layer.score->after < other->score->after;
    difference.better_b += layer.score->after > other->score->after;
  }
  return difference;
}

std::string difference_table(const PlanDifference& difference) {
  std::string table;
  char line[480];
  const std::size_t count = difference.tensors.size();
  if (count == 0) return concat("No parameters differ: all ", difference.same, " tensors are the same.\n");
  constexpr const char* kNames = "scheme    by        bits  scale                     objective";
  std::snprintf(line, sizeof line, "%-40s %-8s A: %-61s  B: %s\n", "layer", "tensor", kNames, kNames);
  table += line;
  for (const TensorDifference& d : difference.tensors) {
    std::snprintf(line, sizeof line, "%-40s %-8s    %s     %s\n", either(d).layer->node.c_str(),
                  either(d).name.c_str(), cells(d.a).c_str(), cells(d.b).c_str());
    table += line;
  }
  table += concat(count, " tensors differ, ", difference.same, " are the same.");
  if (difference.better_a || difference.better_b)
    table += concat(" The objective is lower in A for ", difference.better_a, " layers, in B for ",
                    difference.better_b, ".");
  return table + "\n";
}

json differences_json(const PlanDifference& difference) {
  json rows = json::array();
  for (const TensorDifference& d : difference.tensors)
    rows.push_back({{"name", either(d).layer->node},
                    {"tensor", either(d).name},
                    {"a", choice_json(d.a)},
                    {"b", choice_json(d.b)}});
  return rows;
}

}  // namespace qhv
