#include "models/plan_tensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tensor/check.h"
#include "tensor/untrusted.h"

namespace qhv {
namespace {

using nlohmann::json;

std::string scale_name(const LayerPlan& layer) { return layer.node + ".weight.scale"; }

bool all_equal(const std::vector<std::int32_t>& values) {
  return std::ranges::all_of(values, [&](std::int32_t value) { return value == values.front(); });
}

}  // namespace

json plan_to_file(const QuantPlan& plan, TensorFile& file) {
  json j = plan_to_json(plan);
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    const LayerPlan& layer = plan.layers[i];
    if (!layer.weight) continue;
    const QParams& q = uniform(layer.weight->quantizer, layer.node);
    if (q.scale.size() < 2) continue;
    Tensor scale({std::ssize(q.scale)});
    std::ranges::copy(q.scale, scale.data());
    file.tensors.emplace(scale_name(layer), to_raw_f32(scale));
    json& weight = j.at("layers").at(i).at("weight");
    weight.erase("scale");
    if (all_equal(q.zero_point)) weight["zero_point"] = {q.zero_point.front()};
  }
  return j;
}

void complete_plan(QuantPlan& plan, TensorFile& file, const std::string& path) {
  for (LayerPlan& layer : plan.layers) {
    auto* q = layer.weight ? std::get_if<QParams>(&layer.weight->quantizer) : nullptr;
    if (!q || !q->scale.empty()) continue;
    const std::string where = concat(path, ": tensor ", in_quotes(scale_name(layer)));
    const auto raw = file.tensors.extract(scale_name(layer));
    if (!raw) file_error(where, "missing, and the plan has no scale");
    const Tensor scale = to_real(raw.mapped(), where);
    if (scale.rank() != 1) file_error(where, "shape ", scale.shape(), " instead of a list");
    q->scale.assign(scale.data(), scale.data() + scale.size());
    if (q->zero_point.size() == 1) q->zero_point.resize(q->scale.size(), q->zero_point.front());
  }
}

}  // namespace qhv
