// table: the whole comparison of models, methods and bit widths.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "experiments/commands.h"
#include "experiments/comparison.h"
#include "experiments/gnuplot.h"
#include "experiments/reconstruction_choice.h"
#include "experiments/table_plot.h"
#include "experiments/table_report.h"
#include "tensor/file.h"
#include "tensor/untrusted.h"

namespace qhv {
namespace {

struct Options {
  std::vector<std::string> models, methods = method_names(false), bits;
  int seeds = 1;
  ComparisonOptions comparison;
  std::string markdown, plot;  // files, or empty
};

struct Bits {
  int weights = 0, activations = 0;
};

Bits parse_bits(const std::string& text) {
  const auto bits = [](const std::string& digits) {
    if (digits == "16") return 16;
    return digits.size() == 1 && digits[0] >= '2' && digits[0] <= '8' ? digits[0] - '0' : 0;
  };
  const std::size_t slash = std::min(text.find('/'), text.size());
  const Bits result{bits(text.substr(0, slash)), bits(text.substr(std::min(slash + 1, text.size())))};
  if (!result.weights || !result.activations)
    throw CLI::ValidationError("--bits",
                               concat(in_quotes(text), " is not W/A with 2 to 8 or 16 bits, as in 8/8"));
  return result;
}

void require_field(const std::string& text, const char* option) {
  if (!is_table_field(text))
    throw CLI::ValidationError(option, in_quotes(text) + " cannot stand in a CSV file");
}

/// What the comparison consists of, in the order of the table; what is named twice counts once.
std::vector<TableKey> wanted_rows(const Options& options, std::uint64_t seed) {
  std::vector<Bits> bits;
  for (const std::string& text : options.bits) bits.push_back(parse_bits(text));
  std::vector<TableKey> keys;
  const auto add = [&](const TableKey& key) {
    if (std::ranges::find(keys, key) == keys.end()) keys.push_back(key);
  };
  const bool full = options.comparison.calibration.full;
  for (const std::string& model : options.models) {
    require_field(model, "--models");
    add({model, kFloatMethod});
    for (const std::string& method : methods_meant(options.methods))
      for (const Bits& b : bits)
        for (int i = 0; i < options.seeds; ++i)
          add({model, method, b.weights, b.activations, full, seed + std::uint64_t(i)});
  }
  return keys;
}

void table(const Options& options, const GlobalOptions& global) {
  if (!global.engine.empty() && !(global.engine == "int8" && options.comparison.calibration.full))
    throw CLI::ValidationError("--engine",
                               "table simulates quantised networks, or with --full runs them by int8");
  ComparisonOptions comparison = options.comparison;
  require_field(comparison.calibration.calib, "--calib");
  require_field(comparison.data, "--data");
  for (const std::string& method : methods_meant(options.methods)) parse_recipe(method, "--methods");
  comparison.rows = wanted_rows(options, global.seed);
  if (!options.markdown.empty()) require_writable(options.markdown);
  if (!options.plot.empty()) {
    require_writable(options.plot);
    require_gnuplot();
  }
  const std::vector<TableRow> rows = compare(comparison, global);
  const std::string report = markdown_report(rows);
  if (!global.quiet) std::printf("%s", report.c_str());
  if (!options.markdown.empty()) write_file(options.markdown, report);
  if (!options.plot.empty()) write_table_svg(options.plot, rows);
  nlohmann::json result = report_json(rows);
  result["out"] = comparison.out;
  result["seed"] = global.seed;
  write_json(global, result);
}

}  // namespace

void add_table(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  ComparisonOptions& comparison = options->comparison;
  CLI::App* command =
      app.add_subcommand("table", "Compare methods and bit widths over models; goes on where it stopped");
  command->add_option("--models", options->models, "Float checkpoints")->required()->option_text("FILE...");
  add_calibration_options(*command, comparison.calibration);
  add_reconstruction_options(*command, comparison.calibration);
  command->add_option("--data", comparison.data, "Folder with one folder for each class, or synthetic images")
      ->required()
      ->option_text("DIR or synthetic:SPLIT[:COUNT]");
  command
      ->add_option("--methods", options->methods,
                   concat("Default: all but those of the ablation; \"", kAblation, "\": these and qhyvit. ",
                          method_help()))
      ->delimiter(',')
      ->option_text("METHOD[+KIND],...");
  command->add_option("--bits", options->bits, "Bits of weights and activations, as in 8/8,6/6")
      ->required()
      ->delimiter(',')
      ->option_text("W/A,...");
  command
      ->add_option(
          "--out", comparison.out,
          "CSV file, replaced after every row; rows that it holds already are kept, so other settings "
          "need another file")
      ->required()
      ->option_text("FILE");
  command
      ->add_option(
          "--seeds", options->seeds,
          "Calibrate anew with so many seeds from --seed on; tables and pictures show means (default 1)")
      ->check(CLI::Range(1, 1000));
  command->add_option("--markdown", options->markdown, "Also write the table that is printed to this file")
      ->option_text("FILE");
  command->add_option("--plot", options->plot, "Draw top-1 over bit widths, one panel for each model")
      ->option_text("FILE.svg");
  command->add_option("--limit", comparison.limit, "At most this many images, spread evenly over all")
      ->check(CLI::PositiveNumber);
  add_image_options(*command, comparison.image);
  command->callback([options, &global] { table(*options, global); });
}

}  // namespace qhv
