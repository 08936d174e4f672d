#include "nn/training_file.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "tensor/safetensors.h"

namespace qhv {
namespace {

using nlohmann::json;

constexpr const char* kMetadataKey = "qhyvit.training";
constexpr int kVersion = 1;

/// Calls visit(name in the file, tensor) for everything that a state holds. The optimiser's moments exist
/// from its first step on.
template <typename State, typename Visit>
void for_each_tensor(State& state, Visit visit) {
  std::size_t trainable = 0;
  for (std::size_t p = 0; p < state.graph.params.size(); ++p) {
    auto& param = state.graph.params[p];
    visit("param." + param.name, param.value);
    if (!state.average.empty()) visit("average." + param.name, state.average[p]);
    if (!is_trainable(param)) continue;
    if (trainable < state.optimizer.first.size())
      visit("first." + param.name, state.optimizer.first[trainable]);
    if (trainable < state.optimizer.second.size())
      visit("second." + param.name, state.optimizer.second[trainable]);
    ++trainable;
  }
}

Tensor finite_tensor(const TensorFile& file, const std::string& name, const Shape& shape,
                     const std::string& path) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end()) file_error(path, "tensor ", name, " is missing");
  if (found->second.shape != shape)
    file_error(path, "tensor ", name, " has shape ", found->second.shape, " instead of ", shape);
  Tensor value = to_real(found->second, concat(path, ": tensor ", name));
  for (const real v : value.values())
    if (!std::isfinite(v)) file_error(path, "tensor ", name, " is not finite");
  return value;
}

}  // namespace

void save_training(const std::string& path, const TrainingState& state, const std::string& options) {
  TensorFile file;
  for_each_tensor(
      state, [&](const std::string& name, const Tensor& t) { file.tensors.emplace(name, to_raw_f32(t)); });
  file.metadata.emplace(
      kMetadataKey, json{{"version", kVersion}, {"step", state.optimizer.step}, {"options", options}}.dump());
  write_safetensors(path, file);
}

void load_training(const std::string& path, TrainingState& state,
                   const std::function<void(const std::string& options)>& accept) {
  const TensorFile file = read_safetensors(path);
  if (!file.metadata.contains(kMetadataKey)) file_error(path, "is not a file of training");
  TrainingState loaded = state;
  std::string options;
  try {
    const json header = json::parse(file.metadata.at(kMetadataKey));
    if (header.at("version") != kVersion)
      file_error(path, "is of version ", header.at("version").dump(), ", this program reads ", kVersion);
    loaded.optimizer.step = header.at("step");
    options = header.at("options");
  } catch (const json::exception& error) {
    file_error(path, "malformed metadata (", error.what(), ")");
  }
  accept(options);
  if (loaded.optimizer.step < 0) file_error(path, "step ", loaded.optimizer.step);
  if (loaded.optimizer.step > 0) make_moments(loaded.optimizer, trainable_values(loaded.graph));

  std::size_t expected = 0;
  for_each_tensor(loaded, [&](const std::string& name, Tensor& t) {
    t = finite_tensor(file, name, t.shape(), path);
    ++expected;
  });
  if (file.tensors.size() != expected)
    file_error(path, "has ", file.tensors.size(), " tensors instead of ", expected);
  state = std::move(loaded);
}

}  // namespace qhv
