// Post-training quantisation of a loaded model: what the commands `quantize` and `table` share.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "experiments/options.h"
#include "quant/calibrate.h"
#include "quant/mixed_precision.h"

namespace qhv {

inline constexpr const char* kNoReconstruction = "none";

struct QuantizeOptions {
  std::string calib;  // a folder or a synthetic set
  int images = 32;    // drawn from it by the seed
  std::string method;
  int wbits = 8, abits = 8;
  std::optional<int> ends_bits = {};  // of the first and the last layer; nothing: as the others
  std::optional<double> budget = {};  // share of the cost at 8 bits; nothing: wbits for all
  BudgetOf budget_of = BudgetOf::kSize;
  std::optional<Signal> signal = {};  // nothing: the method's own
  Flavour flavour = Flavour::kFast;
  bool full = false;
  std::string reconstruction = kNoReconstruction;  // as reconstruction_choice.h says
  int reconstruction_images = 256;  // drawn as the calibration images are, which are the first of them
  int iterations = 500;             // of each piece
};

/// Adds --calib, --images, --ends-bits, --signal, --search and --full.
void add_calibration_options(CLI::App& command, QuantizeOptions& options);

/// Of all methods, or without the variants of the ablation.
std::vector<std::string> method_names(bool ablation = true);
/// Among words that name methods: the variants of the ablation, then qhyvit.
inline constexpr const char* kAblation = "ablation";
std::vector<std::string> methods_meant(const std::vector<std::string>& words);
/// "One of", and a line with the name and the summary of each method.
std::string method_help();

/// load_model, and check that the model is a float one.
Model load_float_model(const std::string& path, std::optional<int> res);

/// The images of --calib that `seed` draws. Throws std::runtime_error that begins with the folder if there
/// are too few, naming the option that wants so many.
std::vector<std::string> draw_images(const std::string& folder, int count, const char* option,
                                     std::uint64_t seed);

/// --images of them for --seed, prepared.
std::vector<Tensor> calibration_images(const QuantizeOptions& options, const Preprocess& preprocess,
                                       const GlobalOptions& global);

/// What the options say to a method about this float network. The images must outlive it.
Calibration calibration_of(const QuantizeOptions& options, const Graph& graph, std::span<const Tensor> images,
                           const GlobalOptions& global);

/// Adds --reconstruct-images and --iterations.
void add_reconstruction_options(CLI::App& command, QuantizeOptions& options);

/// The images that a reconstruction learns from; none without one.
std::vector<Tensor> reconstruction_images(const QuantizeOptions& options, const Preprocess& preprocess,
                                          const GlobalOptions& global);

/// What reconstruct_model() would do, as a text to compare: "bridge:256x500" for 256 images and 500
/// iterations; empty without reconstruction.
std::string reconstruction_text(const QuantizeOptions& options);

/// Reconstructs a quantised model, whose float one is `reference`, as the options say, from the piece on at
/// which its plan's reconstruction stopped. `save` is called after every piece.
void reconstruct_model(Model& model, const Model& reference, const QuantizeOptions& options,
                       std::span<const Tensor> images, const GlobalOptions& global,
                       const std::function<void(const char* stage, double done)>& progress,
                       const std::function<void(const Model& so_far)>& save);

/// Runs the method. The result remembers the preprocessing.
Model quantize_model(Model model, const Preprocess& preprocess, const std::string& method,
                     const Calibration& calibration);

}  // namespace qhv
