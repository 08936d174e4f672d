// info: what a model file holds, and every decision of a quantised one.
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "experiments/commands.h"
#include "experiments/layer_table.h"
#include "nn/shapes.h"

namespace qhv {
namespace {

using nlohmann::json;

struct Options {
  std::string model;
  std::optional<int> res;
  bool graph = false;
};

void info(const Options& options, const GlobalOptions& global) {
  const Model model = load_model_or_arch(options.model, options.res);
  check_engine(global, model);
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

  if (!global.quiet) {
    std::printf("%s, %d classes, %lld parameters, %.1f MMAC at %d x %d, engine %s\n", model.arch.name.c_str(),
                model.classes, static_cast<long long>(model.parameters), double(macs) / 1e6, model.res,
                model.res, model.engine());
    for (const auto& [name, share] : ops)
      std::printf("  %-16s %4d  %10.2f MMAC\n", name.c_str(), share.count, double(share.macs) / 1e6);
    if (model.plan) {
      std::printf("%s, weights %d bits, activations %d bits\n", model.plan->method.c_str(), model.plan->wbits,
                  model.plan->abits);
      std::printf("%s", layer_table(*model.plan, model.graph).c_str());
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
    result["layers"] = layers_json(*model.plan, model.graph);
  }
  write_json(global, result);
}

}  // namespace

void add_info(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("info", "Architecture, size, operators; the layers of a quantised model");
  command->add_option("model", options->model, "Checkpoint, quantised model, or an architecture's name")
      ->required()
      ->option_text("MODEL");
  command->add_flag("--graph", options->graph, "Print every node");
  add_res_option(*command, options->res);
  command->callback([options, &global] { info(*options, global); });
}

}  // namespace qhv
