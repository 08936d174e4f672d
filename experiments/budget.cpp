#include "experiments/budget.h"

#include "experiments/gnuplot.h"
#include "experiments/number_text.h"
#include "tensor/file.h"

namespace qhv {
namespace {

constexpr int kSteps = 40;

/// Mean over what the budget counts: weights, or multiplications.
double mean_bits(const std::vector<LayerChoices>& layers, const BitChoice& choice, BudgetOf of) {
  double sum = 0, count = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const double bits = kBitChoices.back(),
                 amount = double(layers[i].costs.back()) / (of == BudgetOf::kSize ? bits : bits * bits);
    sum += amount * kBitChoices[choice.chosen[i]];
    count += amount;
  }
  return sum / count;
}

void write_budget_curve(const std::vector<LayerChoices>& layers, BudgetOf of, const std::string& csv,
                        const std::string& svg) {
  double least = 0, full = 0;
  for (const LayerChoices& layer : layers) {
    least += double(layer.costs[layer.fixed.value_or(0)]);
    full += double(layer.costs.back());
  }
  std::string rows = "budget,share,error,bits\n", data;
  for (int step = 0; step <= kSteps; ++step) {
    const double budget = std::min(1.0, least / full + (1 - least / full) * step / kSteps + 1e-9);
    const BitChoice choice = choose_bits(layers, budget);
    rows += concat(number_text(budget), ",", number_text(choice.share), ",", number_text(choice.error), ",",
                   number_text(mean_bits(layers, choice, of)), "\n");
    data += concat(number_text(choice.share), " ", number_text(choice.error), "\n");
  }
  if (!csv.empty()) write_file(csv, rows);
  if (!svg.empty())
    write_file(svg,
               run_gnuplot(concat("set terminal svg size 640,420 noenhanced font 'sans,12'\n"
                                  "set grid\nset logscale y\nset format y '%g'\n"
                                  "set xlabel 'share of the ",
                                  budget_name(of),
                                  " at 8 bits'\nset ylabel 'sum of weighted errors'\nunset key\n"
                                  "$data << EOD\n",
                                  data, "EOD\nplot $data using 1:2 with linespoints lw 2 pt 7 ps 0.4\n")));
}

}  // namespace

void add_budget_options(CLI::App& command, QuantizeOptions& options) {
  command
      .add_option(
          "--budget", options.budget,
          "Give every layer 4, 6 or 8 bits such that the network takes this share of what it costs at 8, and "
          "loses least by the sensitivity signal; instead of --wbits")
      ->check(CLI::Range(0.01, 1.0));
  command
      .add_option(
          "--budget-of", options.budget_of,
          "size (default): bits of the weights; bitops: multiplications times bits of both operands, so "
          "that activations get a layer's bits too")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, BudgetOf>{{budget_name(BudgetOf::kSize), BudgetOf::kSize},
                                          {budget_name(BudgetOf::kBitOperations), BudgetOf::kBitOperations}}))
      ->option_text("COST");
}

void apply_budget(const QuantizeOptions& options, const Graph& graph, const std::string& csv,
                  const std::string& svg, Calibration& calibration) {
  if (!options.budget && csv.empty() && svg.empty()) return;
  std::vector<LayerChoices> layers = layer_costs(graph, calibration.special_bits, options.budget_of);
  if (options.budget) choose_bits(layers, *options.budget);  // throws before the work if it is too small
  measure_errors(layers, graph, calibration, options.budget_of);
  write_budget_curve(layers, options.budget_of, csv, svg);
  if (options.budget)
    calibration.special_bits.merge(
        special_bits(layers, choose_bits(layers, *options.budget), options.budget_of, calibration.abits));
}

}  // namespace qhv
