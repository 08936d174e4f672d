// The commands of the program, one file each. add_* declares a command's options and what it does when it is
// chosen; the result goes to stdout for people and, with --json, to a file for machines.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>

#include "experiments/options.h"

namespace qhv {

void add_info(CLI::App& app, const GlobalOptions& global);
void add_classify(CLI::App& app, const GlobalOptions& global);
void add_eval(CLI::App& app, const GlobalOptions& global);
void add_quantize(CLI::App& app, const GlobalOptions& global);
void add_table(CLI::App& app, const GlobalOptions& global);
void add_bench(CLI::App& app, const GlobalOptions& global);
void add_synth(CLI::App& app, const GlobalOptions& global);
void add_train(CLI::App& app, const GlobalOptions& global);

/// Writes the result of a command where --json says, if it says so.
void write_json(const GlobalOptions& global, const nlohmann::json& result);

/// A model file (as load_model), or a known architecture's name, which gives generated weights.
Model load_model_or_arch(const std::string& file_or_arch, std::optional<int> res, bool in_integers = false);

}  // namespace qhv
