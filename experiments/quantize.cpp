#include "experiments/quantize.h"

#include "data/dataset.h"
#include "experiments/evaluate.h"
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

struct ReconstructionPart {
  const char* name;
  void (*set)(ReconstructOptions& options, bool on);
};

constexpr ReconstructionPart kParts[] = {
    {"ridge", [](ReconstructOptions& o, bool on) { o.ridge = on; }},
    {"descent", [](ReconstructOptions& o, bool on) { o.descent = on; }},
    {"roundings", [](ReconstructOptions& o, bool on) { o.roundings = on; }},
    {"steps", [](ReconstructOptions& o, bool on) { o.steps = on; }},
    {"biases", [](ReconstructOptions& o, bool on) { o.biases = on; }},
    {"drop", [](ReconstructOptions& o, bool on) { o.drop = on ? ReconstructOptions().drop : 0; }},
};

std::vector<std::string> part_names() {
  std::vector<std::string> names;
  for (const ReconstructionPart& part : kParts) names.push_back(part.name);
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
  std::map<std::string, Reconstruction> kinds;
  for (const Reconstruction kind : {Reconstruction::kNone, Reconstruction::kErq, Reconstruction::kAdaRound,
                                    Reconstruction::kBrecq, Reconstruction::kQDrop, Reconstruction::kBridge})
    kinds.emplace(reconstruction_name(kind), kind);
  command
      .add_option(
          "--reconstruct", options.reconstruction,
          "Then choose how weights are rounded: none (default); erq, layer by layer by least squares; "
          "adaround, layer by layer by gradients; brecq, block by "
          "block, with steps of activations and biases; qdrop, the same while activations are dropped; "
          "bridge, the same with bridge blocks as pieces of their own")
      ->transform(CLI::CheckedTransformer(kinds, CLI::ignore_case))
      ->option_text("KIND");
  command
      .add_option(
          "--reconstruct-parts", options.reconstruction_parts,
          "Instead of what the kind consists of: ridge (weights take back the errors of activations), "
          "descent (codes by coordinates, by layer), roundings, steps, biases (learnt by gradients), drop "
          "(of activations while learning)")
      ->delimiter(',')
      ->check(CLI::IsMember(part_names()))
      ->option_text("PART,...");
  command
      .add_option("--reconstruct-images", options.reconstruction_images,
                  "Images of --calib that it learns from, those of --images among them (default 256)")
      ->check(CLI::Range(1, 1000000));
  command.add_option("--iterations", options.iterations, "Steps of gradient for each piece (default 500)")
      ->check(CLI::Range(1, 1000000));
}

std::vector<Tensor> reconstruction_images(const QuantizeOptions& options, const Preprocess& preprocess,
                                          const GlobalOptions& global) {
  if (options.reconstruction == Reconstruction::kNone) return {};
  QuantizeOptions more = options;
  more.images = options.reconstruction_images;
  return calibration_images(more, preprocess, global);
}

std::string reconstruction_text(const QuantizeOptions& options, std::span<const Tensor> images) {
  if (options.reconstruction == Reconstruction::kNone) return "";
  std::string parts;
  for (const std::string& part : options.reconstruction_parts) parts += concat(" ", part);
  return concat(reconstruction_name(options.reconstruction), parts, ", ", images.size(), " images, ",
                options.iterations, " iterations");
}

void reconstruct_model(Model& model, const Model& reference, const QuantizeOptions& options,
                       std::span<const Tensor> images, const GlobalOptions& global,
                       const std::function<void(const char* stage, double done)>& progress,
                       const std::function<void(const Model& so_far)>& save) {
  if (options.reconstruction == Reconstruction::kNone) return;
  ReconstructOptions how = reconstruct_options(options.reconstruction);
  if (!options.reconstruction_parts.empty())
    for (const ReconstructionPart& part : kParts)
      part.set(how, std::ranges::count(options.reconstruction_parts, part.name) > 0);
  how.iterations = options.iterations;
  how.seed = std::uint64_t(global.seed);
  how.threads = global.threads;
  how.progress = progress;
  QuantizedGraph quantized{std::move(model.graph), std::move(*model.plan)};
  quantized.plan.reconstruction.kind = reconstruction_name(options.reconstruction);
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
  return help;
}

Model load_float_model(const std::string& path, std::optional<int> res, const GlobalOptions& global) {
  Model model = load_model(path, res);
  if (model.plan) file_error(path, "is quantised already; a float checkpoint is needed");
  check_engine(global, model);
  return model;
}

std::vector<std::string> calibration_paths(const QuantizeOptions& options, std::uint64_t seed) {
  const std::vector<std::string> all = list_images(options.calib);
  if (int(all.size()) < options.images)
    file_error(options.calib, "has ", all.size(), " images, ", options.images, " are wanted (--images)");
  return sample_images(all, options.images, seed);
}

std::vector<Tensor> calibration_images(const QuantizeOptions& options, const Preprocess& preprocess,
                                       const GlobalOptions& global) {
  return load_images(calibration_paths(options, std::uint64_t(global.seed)), preprocess, global.threads);
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
