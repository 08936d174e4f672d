#include "tests/hostile_model.h"

#include <algorithm>
#include <stdexcept>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "models/plan_tensors.h"
#include "models/runner.h"
#include "nn/passes.h"
#include "quant/methods/methods.h"
#include "tensor/read_tensor_file.h"

namespace qhv::test {
namespace {

using nlohmann::json;

constexpr const char* kPath = "hostile.safetensors";
constexpr std::size_t kLongestError = 2000;  // shapes of up to 64 extents are in it

/// A model in memory with the file that it would be saved as, and what the file has of its plan.
struct Sound {
  Model model;
  Tensor image;
  TensorFile file;
  QuantPlan saved_plan;
};

Sound sound(Model model, const Tensor& image) {
  const std::vector<Tensor> images{image};
  QuantizedGraph q =
      quantize_graph(find_method("minmax"), model.graph, {.images = images, .threads = 1, .full = true});
  model.graph = std::move(q.graph);
  model.plan = std::move(q.plan);
  TensorFile file = quantized_file(model);
  QuantPlan saved = plan_from_json(json::parse(file.metadata.at("qhyvit")).at("plan"), kPath);
  return {std::move(model), image, std::move(file), std::move(saved)};
}

const Sound& sound_model() {
  static const Sound s =
      sound(generated_model(*find_arch("mobilevit_xxs"), 3, 32), generate_input(1, 3, 32, 32));
  return s;
}

/// Both attentions, maps of 7 x 7 that are resized to patches and, by v1, back.
Graph small_network() {
  Graph graph;
  Value x = conv_norm_act(input(graph, {3, 14, 14}), "stem", 8, {.kernel = 3, .stride = 2, .pad = 1});
  const Value y = conv_norm_act(x, "depthwise", 8, {.kernel = 3, .pad = 1, .groups = 8});
  x = add(x, conv_norm_act(y, "project", 8, {}, false), "residual");
  const Arch arch{.name = "small",
                  .version = 1,
                  .stem = 8,
                  .width = {},
                  .expansion = 1,
                  .dim = {8, 8, 8},
                  .final_width = 0,
                  .depth = {1, 1, 1},
                  .heads = 2};
  x = mobilevit_block_v1(x, "first", arch, 2);
  x = mobilevit_block_v2(x, "second", arch, 2);
  linear(global_avg_pool(x, "pool"), "classifier", 3);
  generate_weights(graph);
  return fold_batch_norm(std::move(graph));
}

const Sound& sound_network() {
  static const Sound s = [] {
    Model model;
    model.arch.name = "small";
    model.classes = 3;
    model.graph = small_network();
    model.path = kPath;
    return sound(std::move(model), generate_input(1, 3, 14, 14));
  }();
  return s;
}

/// What `base` is with these tensors and this plan.
Model with(const Sound& base, TensorFile file, QuantPlan plan) {
  Model model = base.model;
  complete_plan(plan, file, kPath);
  read_quantized_weights(std::move(file), kPath, plan, model.graph);
  model.plan = std::move(plan);
  return model;
}

void run_in_integers(Model model, const Tensor& image) {
  model.in_integers = true;
  Runner(model, 1, 1).run(image);
}

/// The error of what is done with a model.
template <typename Action>
std::string error_of_model(Action action) {
  try {
    action();
    return "";
  } catch (const std::runtime_error& error) {
    const std::string text = error.what();
    const bool printable = std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
    if (!text.starts_with(concat(kPath, ": ")) || text.size() > kLongestError || !printable)
      throw std::logic_error("an error of another form: " + text);
    return text;
  }
}

}  // namespace

std::string try_model_file(std::span<const std::byte> bytes) {
  return error_of_model([&] {
    TensorFile file = parse_tensor_file(bytes, kPath);
    const bool is_known = !file.metadata.empty();
    const Sound& base = is_known ? sound_model() : sound_network();
    file.tensors.insert(base.file.tensors.begin(), base.file.tensors.end());
    Model model = is_known ? parse_model(std::move(file), kPath, std::nullopt, true)
                           : with(base, std::move(file), base.saved_plan);
    if (model.plan) run_in_integers(std::move(model), base.image);
  });
}

const json& sound_plan() {
  static const json plan = plan_to_json(*sound_network().model.plan);
  return plan;
}

std::string try_plan(std::string_view patch) {
  json plan;
  try {
    plan = sound_plan().patch(json::parse(patch));
  } catch (const json::exception& error) {
    return std::string("no patch: ") + error.what();
  }
  const Sound& base = sound_network();
  TensorFile file = base.file;  // the patched plan has the scales
  std::erase_if(file.tensors, [](const auto& tensor) { return tensor.first.ends_with(".weight.scale"); });
  return error_of_model([&] { run_in_integers(with(base, file, plan_from_json(plan, kPath)), base.image); });
}

}  // namespace qhv::test
