// table: the whole comparison of models, methods and bit widths.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "experiments/commands.h"
#include "experiments/comparison.h"
#include "tensor/untrusted.h"

namespace qhv {
namespace {

struct Options {
  std::vector<std::string> models, methods = method_names(false), bits;
  ComparisonOptions comparison;
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

/// What the comparison consists of, in the order of the table.
std::vector<TableKey> wanted_rows(const Options& options) {
  std::vector<Bits> bits;
  for (const std::string& text : options.bits) bits.push_back(parse_bits(text));
  std::vector<TableKey> keys;
  for (const std::string& model : options.models) {
    if (!is_table_field(model))
      throw CLI::ValidationError("--models", in_quotes(model) + " cannot stand in a CSV file");
    keys.push_back({model, kFloatMethod});
    for (const std::string& method : options.methods)
      for (const Bits& b : bits) keys.push_back({model, method, b.weights, b.activations});
  }
  return keys;
}

void table(const Options& options, const GlobalOptions& global) {
  if (!global.engine.empty())
    throw CLI::ValidationError("--engine", "table runs every model by the engine that it has");
  ComparisonOptions comparison = options.comparison;
  comparison.rows = wanted_rows(options);
  const std::vector<TableRow> rows = compare(comparison, global);
  if (!global.quiet) std::printf("%s", markdown_table(rows).c_str());
  write_json(global, {{"out", comparison.out}, {"seed", global.seed}, {"rows", table_json(rows)}});
}

}  // namespace

void add_table(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  ComparisonOptions& comparison = options->comparison;
  CLI::App* command =
      app.add_subcommand("table", "Compare methods and bit widths over models; goes on where it stopped");
  command->add_option("--models", options->models, "Float checkpoints")->required()->option_text("FILE...");
  add_calibration_options(*command, comparison.calibration);
  command->add_option("--data", comparison.data, "Folder with one folder for each class, or synthetic images")
      ->required()
      ->option_text("DIR or synthetic:SPLIT[:COUNT]");
  command->add_option("--methods", options->methods, "Default: all. " + method_help())
      ->delimiter(',')
      ->check(CLI::IsMember(method_names()))
      ->option_text("METHOD,...");
  command->add_option("--bits", options->bits, "Bits of weights and activations, as in 8/8,6/6")
      ->required()
      ->delimiter(',')
      ->option_text("W/A,...");
  command
      ->add_option("--out", comparison.out,
                   "CSV file, replaced after every row; rows that it holds already are kept, so other images "
                   "need another file")
      ->required()
      ->option_text("FILE");
  command->add_option("--limit", comparison.limit, "At most this many images, spread evenly over all")
      ->check(CLI::PositiveNumber);
  add_image_options(*command, comparison.image);
  command->callback([options, &global] { table(*options, global); });
}

}  // namespace qhv
