// The options that commands share, and how they become settings. Each command adds its own (command_*.cpp).
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/preprocess.h"
#include "models/model.h"

namespace qhv {

struct GlobalOptions {
  int threads = 1;  // main() sets the number of cores
  std::uint64_t seed = 0;
  bool quiet = false;
  std::string json;                  // file for the machine-readable result, or empty
  std::string engine;                // forced engine, or empty
  bool allow_float_islands = false;  // whether int8 takes partial plans
  std::string kernels;               // of Runner, or empty; set by select_kernels
};

/// What of the preprocessing was said on the command line; the rest comes from the model.
struct ImageOptions {
  std::optional<int> res, resize;
  std::optional<double> crop_pct;
  std::optional<std::string> interpolation;
  std::vector<std::string> mean, std;  // three numbers or "imagenet"
  bool bgr = false;
};

void add_global_options(CLI::App& app, GlobalOptions& options);
/// Throws CLI::ValidationError for global options that do not go together.
void check_global_options(const GlobalOptions& options);
/// Makes what --kernels says the kernels in use. Throws std::invalid_argument, listing the known ones, for a
/// name that is none of them or one that this CPU cannot execute.
void select_kernels(GlobalOptions& options);
void add_res_option(CLI::App& command, std::optional<int>& res);
void add_image_options(CLI::App& command, ImageOptions& options);

/// A quantised model's own preprocessing, or its architecture's (bicubic, mean 0, std 1, timm's crop),
/// overridden by what was said. Wrong usage is a CLI::ValidationError (exit code 2), a model that remembers
/// nonsense a std::runtime_error that begins with its path.
Preprocess resolve_preprocess(const ImageOptions& options, const Model& model, const std::string& path);

/// For Model::preprocess.
std::string preprocess_to_json(const Preprocess& preprocess);

/// For people, and to compare: "res=256 resize=284 interpolation=bicubic mean=0/0/0 std=1/1/1 bgr=no".
std::string preprocess_text(const Preprocess& preprocess);

/// Whether --engine asks for the integer engine.
bool in_integers(const GlobalOptions& options);
/// Makes the engine that --engine asks for the model's. Throws CLI::ValidationError if it has none such.
void select_engine(const GlobalOptions& options, Model& model);
/// Of a model that ran with float islands: says, unless quiet, how many nodes were computed in integers and
/// how many in floating point, and adds both numbers to `result`.
void report_islands(const GlobalOptions& options, const Model& model, nlohmann::json& result);

}  // namespace qhv
