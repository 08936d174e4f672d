#include "models/model.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "models/checkpoint.h"
#include "models/generated.h"
#include "models/mobilevit.h"
#include "models/plan_tensors.h"
#include "nn/passes.h"
#include "quant/equalize.h"
#include "quant/fake_quant.h"
#include "quant/integer/weight_codes.h"
#include "tensor/read_tensor_file.h"
#include "tensor/safetensors.h"
#include "tensor/untrusted.h"
#include "tensor/untrusted_json.h"

namespace qhv {
namespace {

using nlohmann::json;

constexpr const char* kMetadataKey = "qhyvit";
constexpr int kVersion = 2;      // 1 had the scales of weights in the plan (plan_tensors.h)
constexpr int kMostLevels = 16;  // of the metadata; a plan has 7

/// What the metadata says of a model; everything but its graph.
Model read_header(const TensorFile& file, const std::string& path) {
  Model model;
  try {
    const json header =
        parse_untrusted_json(file.metadata.at(kMetadataKey), path, "the metadata", kMostLevels);
    const int version = whole_number<int>(header.at("version"), path, "version");
    if (version < 1 || version > kVersion)
      file_error(path, "is of version ", version, ", this program reads 1 to ", kVersion);
    const std::string name = header.at("arch");
    const Arch* arch = find_arch(name);
    if (!arch) file_error(path, "is of the unknown architecture ", in_quotes(name));
    model.arch = *arch;
    model.classes = whole_number<int>(header.at("classes"), path, "classes");
    model.res = whole_number<int>(header.at("res"), path, "res");
    if (model.res < kMinRes || model.res > kMaxRes)
      file_error(path, "is for images of ", model.res, " pixels");
    if (!header.at("preprocess").empty()) model.preprocess = header.at("preprocess").dump();
    if (header.contains("labels")) model.labels = header.at("labels").get<std::vector<std::string>>();
    if (header.contains("plan")) model.plan = plan_from_json(header.at("plan"), path);
  } catch (const json::exception& error) {
    file_error(path, "malformed metadata (", error.what(), ")");
  }
  if (!model.labels.empty() && int(model.labels.size()) != model.classes)
    file_error(path, "metadata with ", model.labels.size(), " names for ", model.classes, " classes");
  return model;
}

json header_of(const Model& model) {
  return {{"version", kVersion},
          {"arch", model.arch.name},
          {"classes", model.classes},
          {"res", model.res},
          {"preprocess", model.preprocess.empty() ? json::object() : json::parse(model.preprocess)},
          {"labels", model.labels}};
}

/// `model`: what the metadata says, if anything.
Model load_float(TensorFile file, const std::string& path, const std::optional<Model>& header, int res) {
  const auto tensors = timm_tensors(std::move(file), path);
  Model model = header.value_or(Model{});
  model.arch = detect_arch(tensors, path);
  model.classes = detect_classes(tensors, model.arch, path);
  if (header && (model.arch.name != header->arch.name || model.classes != header->classes))
    file_error(path, "metadata of a ", header->arch.name, " with ", header->classes,
               " classes, tensors of a ", model.arch.name, " with ", model.classes);
  model.res = res;
  Graph graph = build_mobilevit(model.arch, model.classes, res, true);
  check_tensors(graph, tensors, path);
  for (Param& p : graph.params) {
    const std::string where = concat(path, ": tensor ", p.name);
    p.value = to_real(tensors.at(p.name), where);
    check_finite(p.value, where);
  }
  graph.bare = false;
  model.parameters = parameter_count(graph);
  model.graph = fold_batch_norm(std::move(graph));
  return model;
}

/// For each weight parameter of a planned layer its layer.
std::map<std::string, const LayerPlan*> planned_weights(const QuantPlan& plan) {
  std::map<std::string, const LayerPlan*> params;
  for (const LayerPlan& layer : plan.layers)
    if (layer.weight) params.emplace(layer.node + ".weight", &layer);
  return params;
}

void check_codes(const TensorI32& codes, const QParams& q, const std::string& where) {
  const std::int32_t low = q.qmin, high = q.qmax;
  std::int32_t outside = 0;  // no branch for each code, so that the loop is vectorised: most files are good
  for (const std::int32_t code : codes.values()) outside |= (code < low) | (code > high);
  if (!outside) return;
  for (const std::int32_t code : codes.values())
    if (code < low || code > high) file_error(where, "code ", code, " outside of ", low, " .. ", high);
}

/// Whether codes of q, whatever they are, divided by the factors are finite.
bool is_finite(const QParams& q, std::span<const float> factors) {
  double least = 1;
  for (const float factor : factors) least = std::min(least, double(factor));
  const double largest = double(std::ranges::max(q.scale)) * (double(q.qmax) - q.qmin) / least;
  return largest <= double(std::numeric_limits<float>::max());
}

/// The codes stay what they are if `keep`. Those that the integer engine refuses, and those of values that
/// have to be looked at, do not.
void set_weight(Param& param, const RawTensor& raw, const LayerPlan& layer, bool keep,
                const std::string& where) {
  const QParams& q = uniform(layer.weight->quantizer, where);
  keep = keep && fit_bytes(q) && is_finite(q, layer.equalization);
  if (keep) param.codes = to_bytes(raw, q);
  if (param.codes.size() > 0) return;
  const TensorI32 codes = to_codes(raw, where);
  check_codes(codes, q, where);
  if (keep)
    param.codes = to_bytes(codes, q);
  else
    param.value = divide_channels(dequantize(codes, q), layer.equalization);
}

Model load_quantized(TensorFile file, const std::string& path, Model model, int res, bool in_integers) {
  model.res = res;
  const int classes = detect_classes(file.tensors, model.arch, path);
  if (model.classes != classes)
    file_error(path, "metadata for ", model.classes, " classes, tensors for ", classes);
  Graph unfolded = build_mobilevit(model.arch, model.classes, model.res, true);
  model.parameters = parameter_count(unfolded);
  model.graph = fold_batch_norm(std::move(unfolded));
  model.in_integers = in_integers;
  model.graph.bare = in_integers && model.plan->full;
  read_quantized_weights(std::move(file), path, *model.plan, model.graph);
  return model;
}

}  // namespace

Model load_model(const std::string& path, std::optional<int> res, bool in_integers) {
  return parse_model(read_tensor_file(path), path, res, in_integers);
}

Model parse_model(TensorFile file, const std::string& path, std::optional<int> res, bool in_integers) {
  std::optional<Model> header;
  if (file.metadata.contains(kMetadataKey)) header = read_header(file, path);
  if (header && header->plan) complete_plan(*header->plan, file, path);
  const bool integers = std::ranges::any_of(file.tensors, [](const auto& entry) {
    const DType dtype = entry.second.dtype;
    return dtype == DType::kI8 || dtype == DType::kU8 || dtype == DType::kI16;
  });
  if (header && !header->plan && integers)
    file_error(path, "holds integer weights, but its metadata no plan");
  const int chosen_res = res.value_or(header ? header->res : 256);
  Model model = header && header->plan
                    ? load_quantized(std::move(file), path, std::move(*header), chosen_res, in_integers)
                    : load_float(std::move(file), path, header, chosen_res);
  model.path = path;
  return model;
}

void read_quantized_weights(TensorFile file, const std::string& path, const QuantPlan& plan, Graph& graph) {
  check_tensors(graph, file.tensors, path);
  try {
    validate(plan, graph);
  } catch (const std::invalid_argument& error) {
    file_error(path, "the plan does not fit the network: ", error.what());
  }
  const auto planned = planned_weights(plan);
  for (Param& p : graph.params) {
    const std::string where = concat(path, ": tensor ", p.name);
    const RawTensor raw = std::move(file.tensors.at(p.name));  // and is gone when it has been read
    if (const auto q = planned.find(p.name); q != planned.end())
      set_weight(p, raw, *q->second, graph.bare, where);
    else
      p.value = to_real(raw, where);
    check_finite(p.value, where);
  }
}

Model generated_model(const Arch& arch, int classes, int res) {
  Graph graph = build_mobilevit(arch, classes, res);
  generate_weights(graph);
  const std::int64_t parameters = parameter_count(graph);
  return {arch, classes, res, parameters, fold_batch_norm(std::move(graph)), std::nullopt, "", {}};
}

void save_checkpoint(const std::string& path, const Model& model, const Graph& unfolded) {
  TensorFile file;
  for (const Param& p : unfolded.params) try {
      file.tensors.emplace(p.name, p.value.rank() >= 2 ? to_raw_f16(p.value) : to_raw_f32(p.value));
    } catch (const std::invalid_argument& error) {
      file_error(path, "cannot be written: tensor ", p.name, ": ", error.what());
    }
  file.metadata.emplace(kMetadataKey, header_of(model).dump());
  write_safetensors(path, file);
}

TensorFile quantized_file(const Model& model) {
  require(model.plan.has_value(), "save_quantized", "the model has no plan");
  validate(*model.plan, model.graph);
  TensorFile file;
  const auto planned = planned_weights(*model.plan);
  for (const Param& p : model.graph.params) {
    if (const auto q = planned.find(p.name); q != planned.end()) {
      const LayerPlan& layer = *q->second;
      const QParams& params = uniform(layer.weight->quantizer, p.name);
      file.tensors.emplace(
          p.name, to_raw_codes(quantize(multiply_channels(p.value, layer.equalization), params), params.qmin,
                               params.qmax));
    } else {
      file.tensors.emplace(p.name, to_raw_f32(p.value));
    }
  }
  json header = header_of(model);
  header["plan"] = plan_to_file(*model.plan, file);
  file.metadata.emplace(kMetadataKey, header.dump());
  return file;
}

void save_quantized(const std::string& path, const Model& model) {
  write_safetensors(path, quantized_file(model));
}

RunHooks model_hooks(const Model& model) {
  return model.plan ? fake_quant_hooks(model.graph, *model.plan) : RunHooks{};
}

}  // namespace qhv
