// info: what a model file holds, and every decision of a quantised one, or where two of them differ.
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "experiments/commands.h"
#include "experiments/layer_table.h"
#include "experiments/plan_difference.h"
#include "nn/shapes.h"
#include "quant/integer/lower.h"

namespace qhv {
namespace {

using nlohmann::json;

struct Options {
  std::string model, against;
  std::optional<int> res;
  bool graph = false;
};

void print_reconstruction(const ReconstructionTrace& trace) {
  std::printf(
      "reconstruction %s, %d images: error of each piece before, after least squares and at the end, learnt "
      "weights "
      "that do not go to the nearest code, and how far they were from decided (0 to 1)\n",
      trace.kind.c_str(), trace.images);
  for (const PieceTrace& p : trace.pieces)
    std::printf("  %-44s %9.3g -> %9.3g -> %-9.3g %5.1f %% %8.2g%s%s\n", p.name.c_str(), p.before,
                p.corrected, p.after, p.free ? 100 * double(p.flipped) / double(p.free) : 0, p.regularizer,
                p.diverged ? "  (diverged)" : "", p.kept ? "  (kept its start)" : "");
}

/// What the integer engine makes of a plan: its size, or why it refuses, and what a partial plan leaves to
/// floating point.
json integer_report(const Model& model) {
  json report{{"float_islands", json::array()}};
  for (const int node : float_islands(model.graph, *model.plan))
    report["float_islands"].push_back(model.graph.nodes[std::size_t(node)].name);
  try {
    const IntegerProgram program = lower(model.graph, *model.plan);
    report["steps"] = program.steps.size();
    report["weight_bytes"] = weight_bytes(program);
    report["arena_bytes"] = program.arena_size;
    report["kernels"] = best_integer_kernels().name;
  } catch (const std::invalid_argument& error) {
    report["refused"] = error.what();
  }
  return report;
}

void print_integer_report(const json& report) {
  if (!report.contains("refused")) {
    std::printf("integer engine: %d steps, weights %.2f MB, arena %.2f MB for one image, kernels %s\n",
                report.at("steps").get<int>(), report.at("weight_bytes").get<double>() / 1e6,
                report.at("arena_bytes").get<double>() / 1e6,
                report.at("kernels").get<std::string>().c_str());
    return;
  }
  const auto islands = report.at("float_islands").get<std::vector<std::string>>();
  std::printf("integer engine: not for this plan: %s\n", report.at("refused").get<std::string>().c_str());
  if (islands.empty()) return;
  std::printf("left in floating point, %zu nodes:", islands.size());
  for (const std::string& name : islands) std::printf(" %s", name.c_str());
  std::printf("\n");
}

void info(const Options& options, const GlobalOptions& global) {
  Model model = load_model_or_arch(options.model, options.res);
  select_engine(global, model);
  struct Share {
    int count = 0;
    std::int64_t macs = 0;
  };
  std::map<std::string, Share> ops;
  std::int64_t macs = 0;
  const std::vector<std::int64_t> of_node = mac_counts(model.graph);
  for (std::size_t i = 0; i < of_node.size(); ++i) {
    Share& share = ops[op_name(model.graph.nodes[i].op)];
    ++share.count;
    share.macs += of_node[i];
    macs += of_node[i];
  }

  const json integers = model.plan ? integer_report(model) : json();
  if (!global.quiet) {
    std::printf("%s, %d classes, %lld parameters, %.1f MMAC at %d x %d, engine %s\n", model.arch.name.c_str(),
                model.classes, static_cast<long long>(model.parameters), double(macs) / 1e6, model.res,
                model.res, model.engine());
    for (const auto& [name, share] : ops)
      std::printf("  %-16s %4d  %10.2f MMAC\n", name.c_str(), share.count, double(share.macs) / 1e6);
    if (model.plan) {
      const Provenance& made = model.plan->made;
      std::printf("%s, weights %d bits, activations %d bits%s; %d images, seed %llu, signal %s, search %s\n",
                  model.plan->method.c_str(), model.plan->wbits, model.plan->abits,
                  model.plan->full ? ", full" : "", made.images, static_cast<unsigned long long>(made.seed),
                  made.signal.c_str(), made.search.c_str());
      std::printf("%s", layer_table(*model.plan, model.graph).c_str());
      if (model.plan->reconstruction.kind != "none") print_reconstruction(model.plan->reconstruction);
      print_integer_report(integers);
    }
    if (options.graph) std::printf("%s", dump(model.graph).c_str());
  }
  json result{
      {"arch", model.arch.name}, {"classes", model.classes}, {"params", model.parameters}, {"macs", macs},
      {"res", model.res},        {"engine", model.engine()}, {"ops", json::object()}};
  for (const auto& [name, share] : ops) result["ops"][name] = {{"count", share.count}, {"macs", share.macs}};
  if (model.plan) {
    result["method"] = model.plan->method;
    result["wbits"] = model.plan->wbits;
    result["abits"] = model.plan->abits;
    result["full"] = model.plan->full;
    result["made"] = {{"images", model.plan->made.images},
                      {"seed", model.plan->made.seed},
                      {"signal", model.plan->made.signal},
                      {"search", model.plan->made.search}};
    result["integer_engine"] = integers;
    result["layers"] = layers_json(*model.plan, model.graph);
    result["reconstruction"] = reconstruction_to_json(model.plan->reconstruction);
  }
  write_json(global, result);
}

Model load_quantized(const std::string& path) {
  Model model = load_model(path);
  if (!model.plan) file_error(path, "is not quantised; --against compares two quantised models");
  return model;
}

json plan_summary(const std::string& path, const QuantPlan& plan) {
  return {{"model", path}, {"method", plan.method}, {"wbits", plan.wbits}, {"abits", plan.abits}};
}

void compare(const Options& options, const GlobalOptions& global) {
  const Model a = load_quantized(options.model), b = load_quantized(options.against);
  if (a.arch.name != b.arch.name)
    file_error(options.against, "is a ", b.arch.name, ", not a ", a.arch.name, " as ", options.model);
  const PlanDifference difference = compare_plans(*a.plan, *b.plan);
  if (!global.quiet) {
    for (const auto& [name, path, plan] :
         {std::tuple("A", &options.model, &*a.plan), std::tuple("B", &options.against, &*b.plan)})
      std::printf("%s: %s, %s by %s, weights %d bits, activations %d bits\n", name, path->c_str(),
                  a.arch.name.c_str(), plan->method.c_str(), plan->wbits, plan->abits);
    std::printf("%s", difference_table(difference).c_str());
  }
  write_json(global, {{"arch", a.arch.name},
                      {"a", plan_summary(options.model, *a.plan)},
                      {"b", plan_summary(options.against, *b.plan)},
                      {"differences", differences_json(difference)},
                      {"same", difference.same},
                      {"better_a", difference.better_a},
                      {"better_b", difference.better_b}});
}

}  // namespace

void add_info(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("info", "Architecture, size, operators; the layers of a quantised model");
  command->add_option("model", options->model, "Checkpoint, quantised model, or an architecture's name")
      ->required()
      ->option_text("MODEL");
  CLI::Option* against =
      command
          ->add_option(
              "--against", options->against,
              "Of two quantised models only the layers whose parameters differ, for example those of "
              "--search fast and plain")
          ->option_text("MODEL");
  command->add_flag("--graph", options->graph, "Print every node")->excludes(against);
  add_res_option(*command, options->res);
  command->callback(
      [options, &global] { options->against.empty() ? info(*options, global) : compare(*options, global); });
}

}  // namespace qhv
