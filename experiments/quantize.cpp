#include "experiments/quantize.h"

#include "data/dataset.h"
#include "experiments/evaluate.h"
#include "experiments/reconstruction_choice.h"
#include "quant/fake_quant.h"
#include "quant/methods/methods.h"

namespace qhv {
namespace {

std::map<std::string, Signal> signal_names() {
  std::map<std::string, Signal> names;
  for (const Signal signal :
       {Signal::kNone, Signal::kQuantized, Signal::kFisher, Signal::kPerturbation, Signal::kLowRank})
    names.emplace(signal_name(signal), signal);
  return names;
}

}  // namespace

void add_calibration_options(CLI::App& command, QuantizeOptions& options) {
  command
      .add_option("--calib", options.calib,
                  "Folder of calibration images, or synthetic ones; labels are not needed")
      ->required()
      ->option_text("DIR or synthetic:SPLIT[:COUNT]");
  command.add_option("--images", options.images, "Calibration images, drawn by --seed (default 32)")
      ->check(CLI::Range(1, 1000000));
  command
      .add_option("--ends-bits", options.ends_bits,
                  "Bits of weights and activations of the first and the last layer (default: as the others)")
      ->check(CLI::Range(2, 8) | CLI::IsMember({16}));
  command
      .add_option("--signal", options.signal,
                  "Sensitivity that weighs errors in methods that search by it: fisher (default of qhyvit), "
                  "quantized (default of the others), perturbation, lowrank or none")
      ->transform(CLI::CheckedTransformer(signal_names(), CLI::ignore_case))
      ->option_text("SIGNAL");
  command.add_option("--search", options.flavour, "fast (default), or plain: every candidate on every image")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Flavour>{
          {flavour_name(Flavour::kFast), Flavour::kFast}, {flavour_name(Flavour::kPlain), Flavour::kPlain}}))
      ->option_text("FLAVOUR");
  command.add_flag(
      "--full", options.full,
      "Quantise the inputs of normalisations, SiLU, softmax, additions and pooling too: all that "
      "an integer engine needs");
}

void add_reconstruction_options(CLI::App& command, QuantizeOptions& options) {
  command
      .add_option(
          "--reconstruct-images", options.reconstruction_images,
          "Images of --calib that reconstruction learns from, those of --images among them (default 256)")
      ->check(CLI::Range(1, 1000000));
  command
      .add_option("--iterations", options.iterations,
                  "Steps of gradient for each piece of a reconstruction (default 500)")
      ->check(CLI::Range(1, 1000000));
}

std::vector<std::string> draw_images(const std::string& folder, int count, const char* option,
                                     std::uint64_t seed) {
  const std::vector<std::string> all = list_images(folder);
  if (int(all.size()) < count)
    file_error(folder, "has ", all.size(), " images, ", count, " are wanted (", option, ")");
  return sample_images(all, count, seed);
}

std::vector<Tensor> reconstruction_images(const QuantizeOptions& options, const Preprocess& preprocess,
                                          const GlobalOptions& global) {
  if (options.reconstruction == kNoReconstruction) return {};
  const auto paths = draw_images(options.calib, options.reconstruction_images, "--reconstruct-images",
                                 std::uint64_t(global.seed));
  return load_images(paths, preprocess, global.threads);
}

std::string reconstruction_text(const QuantizeOptions& options) {
  if (options.reconstruction == kNoReconstruction) return "";
  return concat(options.reconstruction, ":", options.reconstruction_images, "x", options.iterations);
}

void reconstruct_model(Model& model, const Model& reference, const QuantizeOptions& options,
                       std::span<const Tensor> images, const GlobalOptions& global,
                       const std::function<void(const char* stage, double done)>& progress,
                       const std::function<void(const Model& so_far)>& save) {
  if (options.reconstruction == kNoReconstruction) return;
  ReconstructOptions how = parse_reconstruction(options.reconstruction, "--reconstruct");
  how.iterations = options.iterations;
  how.seed = std::uint64_t(global.seed);
  how.threads = global.threads;
  how.progress = progress;
  QuantizedGraph quantized{std::move(model.graph), std::move(*model.plan)};
  quantized.plan.reconstruction.kind = options.reconstruction;
  quantized.plan.reconstruction.images = int(images.size());
  if (save)
    how.save = [&] {
      model.graph = quantized.graph;
      model.plan = quantized.plan;
      save(model);
    };
  reconstruct(quantized, reference.graph, images, how);
  measure_plan(quantized, reference.graph, images.first(std::min(images.size(), std::size_t(options.images))),
               global.threads);
  model.graph = std::move(quantized.graph);
  model.plan = std::move(quantized.plan);
}

std::vector<std::string> method_names(bool ablation) {
  std::vector<std::string> names;
  for (const Method& method : methods())
    if (ablation || !method.ablation) names.push_back(method.name);
  return names;
}

std::vector<std::string> methods_meant(const std::vector<std::string>& words) {
  std::vector<std::string> names;
  for (const std::string& word : words) {
    if (word != kAblation) {
      names.push_back(word);
      continue;
    }
    for (const Method& method : methods())
      if (method.ablation) names.push_back(method.name);
    names.push_back("qhyvit");
  }
  return names;
}

std::string method_help() {
  std::string help = "One of";
  for (const Method& method : methods()) help += concat("\n", method.name, ": ", method.summary);
  return help + concat("\nalso METHOD+KIND, with what --reconstruct does behind it, and\n", kBestName, ": ",
                       kBestRecipe);
}

Model load_float_model(const std::string& path, std::optional<int> res) {
  Model model = load_model(path, res);
  if (model.plan) file_error(path, "is quantised already; a float checkpoint is needed");
  return model;
}

std::vector<Tensor> calibration_images(const QuantizeOptions& options, const Preprocess& preprocess,
                                       const GlobalOptions& global) {
  const auto paths = draw_images(options.calib, options.images, "--images", std::uint64_t(global.seed));
  return load_images(paths, preprocess, global.threads);
}

Calibration calibration_of(const QuantizeOptions& options, const Graph& graph, std::span<const Tensor> images,
                           const GlobalOptions& global) {
  return {.images = images,
          .wbits = options.wbits,
          .abits = options.abits,
          .special_bits = options.ends_bits ? ends_in(graph, *options.ends_bits) : SpecialBits{},
          .threads = global.threads,
          .seed = std::uint64_t(global.seed),
          .signal = options.signal,
          .flavour = options.flavour,
          .full = options.full};
}

Model quantize_model(Model model, const Preprocess& preprocess, const std::string& method,
                     const Calibration& calibration) {
  QuantizedGraph quantized = quantize_graph(find_method(method), model.graph, calibration);
  model.graph = std::move(quantized.graph);
  model.plan = std::move(quantized.plan);
  model.preprocess = preprocess_to_json(preprocess);
  return model;
}

}  // namespace qhv
