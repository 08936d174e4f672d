#include "experiments/options.h"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "experiments/number_text.h"
#include "quant/integer/planned_layers.h"
#include "tensor/gemm.h"
#include "tensor/kernels/integer_kernels.h"
#include "tensor/kernels/kernels.h"

namespace qhv {
namespace {

using nlohmann::json;

constexpr std::array<double, 3> kImageNetMean{0.485, 0.456, 0.406}, kImageNetStd{0.229, 0.224, 0.225};

const char* interpolation_name(Interpolation i) {
  return i == Interpolation::kBicubic ? "bicubic" : "bilinear";
}

Interpolation interpolation_of(const std::string& name) {
  require(name == "bicubic" || name == "bilinear", "options", "interpolation \"", name, "\"");
  return name == "bicubic" ? Interpolation::kBicubic : Interpolation::kBilinear;
}

void set_channels(std::array<double, 3>& values, const std::vector<std::string>& said, const char* option,
                  const std::array<double, 3>& imagenet) {
  if (said.empty()) return;
  if (said.size() == 1 && said[0] == "imagenet") {
    values = imagenet;
    return;
  }
  if (said.size() != 3) throw CLI::ValidationError(option, "takes three numbers or \"imagenet\"");
  for (std::size_t i = 0; i < 3; ++i)
    if (!CLI::detail::lexical_cast(said[i], values[i]))
      throw CLI::ValidationError(option, concat('"', said[i], "\" is not a number"));
}

/// The defaults of a quantised model are what it was calibrated with.
Preprocess remembered(const Model& model, const std::string& path) {
  try {
    const json j = json::parse(model.preprocess);
    const Preprocess p{j.at("res"),
                       j.at("resize"),
                       interpolation_of(j.at("interpolation")),
                       j.at("mean").get<std::array<double, 3>>(),
                       j.at("std").get<std::array<double, 3>>(),
                       j.at("bgr")};
    validate(p);
    return p;
  } catch (const std::exception& error) {
    file_error(path, "its preprocessing is malformed (", error.what(), ")");
  }
}

}  // namespace

void add_global_options(CLI::App& app, GlobalOptions& options) {
  app.add_option("--threads", options.threads, "Threads (default: all cores)")->check(CLI::Range(1, 1024));
  app.add_option("--seed", options.seed, "Seed of everything that is drawn at random (default 0)");
  app.add_flag("--quiet", options.quiet, "No progress, no report");
  app.add_option("--json", options.json, "Write the result to this file, for machines")->option_text("FILE");
  app.add_option(
         "--engine", options.engine,
         "Insist on an engine instead of taking the model's: float32, or of a quantised model fake-quant, "
         "which simulates it (its default), or int8, integers alone, for plans made with --full")
      ->check(CLI::IsMember({"float32", "fake-quant", "int8"}));
  app.add_flag("--allow-float-islands", options.allow_float_islands,
               "With --engine int8, take plans made without --full too: layers are integer products, what is "
               "between them stays in floating point (info lists it)");
  app.add_option("--kernels", options.kernels,
                 "Insist on the executor's kernels (avx512, avx2, portable), or on the reference interpreter "
                 "(reference; or with these matrix products: packed, onednn, openblas, "
                 "ref); of int8: amx, vnni, vnni256, avxvnni, avx2, ref");
}

void check_global_options(const GlobalOptions& options) {
  if (options.allow_float_islands && !in_integers(options))
    throw CLI::ValidationError("--allow-float-islands", "goes with --engine int8");
}

void select_kernels(GlobalOptions& options) {
  if (options.kernels.empty() || options.kernels == "reference") return;
  std::string known = "reference";
  for (const FloatKernels* table : float_kernel_tables()) {
    if (table->name == options.kernels) {
      find_float_kernels(options.kernels);  // or this CPU lacks it
      return;
    }
    known += concat(", ", table->name);
  }
  for (const IntegerKernels* table : integer_kernel_tables()) {
    if (table->name == options.kernels && options.engine == "int8") {
      find_integer_kernels(options.kernels);
      return;
    }
    known += concat(", ", table->name);
  }
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.name == options.kernels) {
      select_gemm_kernel(options.kernels);
      options.kernels = "reference";
      return;
    }
    known += concat(", ", kernel.name);
  }
  fail("kernels", concat("no kernel \"", options.kernels, "\" in this build (it has ", known, ")"));
}

void add_res_option(CLI::App& command, std::optional<int>& res) {
  command.add_option("--res", res, "Input size in pixels (default 256, or what a quantised model remembers)")
      ->check(CLI::Range(kMinRes, kMaxRes));
}

void add_image_options(CLI::App& command, ImageOptions& options) {
  add_res_option(command, options.res);
  auto* resize =
      command.add_option("--resize", options.resize, "Shorter side before the centre crop, in pixels")
          ->check(CLI::Range(kMinRes, 4 * kMaxRes));
  command
      .add_option("--crop-pct", options.crop_pct,
                  "The same as a fraction: resize = res / crop-pct (0.9 v1, 0.888 v2)")
      ->check(CLI::Range(0.01, 1.0))
      ->excludes(resize);
  command.add_option("--interpolation", options.interpolation, "bicubic (default) or bilinear")
      ->check(CLI::IsMember({"bicubic", "bilinear"}));
  command.add_option("--mean", options.mean, "Three numbers or \"imagenet\" (default 0 0 0)")->expected(1, 3);
  command.add_option("--std", options.std, "Three numbers or \"imagenet\" (default 1 1 1)")->expected(1, 3);
  command.add_flag("--bgr", options.bgr, "Blue first, as the ImageNet checkpoints of cvnets expect");
}

Preprocess resolve_preprocess(const ImageOptions& options, const Model& model, const std::string& path) {
  Preprocess p;
  const bool remembers = !model.preprocess.empty();
  if (remembers) p = remembered(model, path);
  const bool own_res = p.res == model.res;
  p.res = model.res;
  if (options.resize)
    p.resize = *options.resize;
  else if (options.crop_pct || !remembers || !own_res)
    p.resize = resize_for_crop(p.res, options.crop_pct.value_or(model.arch.crop_pct()));
  if (options.interpolation) p.interpolation = interpolation_of(*options.interpolation);
  set_channels(p.mean, options.mean, "--mean", kImageNetMean);
  set_channels(p.std, options.std, "--std", kImageNetStd);
  p.bgr = p.bgr || options.bgr;
  try {
    validate(p);
  } catch (const std::invalid_argument& error) {
    throw CLI::ValidationError("preprocessing", error.what());
  }
  return p;
}

std::string preprocess_to_json(const Preprocess& p) {
  return json{{"res", p.res},   {"resize", p.resize}, {"interpolation", interpolation_name(p.interpolation)},
              {"mean", p.mean}, {"std", p.std},       {"bgr", p.bgr}}
      .dump();
}

std::string preprocess_text(const Preprocess& p) {
  const auto channels = [](const std::array<double, 3>& v) {
    return number_text(v[0]) + "/" + number_text(v[1]) + "/" + number_text(v[2]);
  };
  return concat("res=", p.res, " resize=", p.resize, " interpolation=", interpolation_name(p.interpolation),
                " mean=", channels(p.mean), " std=", channels(p.std), " bgr=", p.bgr ? "yes" : "no");
}

bool in_integers(const GlobalOptions& options) { return options.engine == "int8"; }

void select_engine(const GlobalOptions& options, Model& model) {
  model.in_integers = model.plan && in_integers(options);
  model.allow_float_islands = options.allow_float_islands;
  if (!options.engine.empty() && options.engine != model.engine())
    throw CLI::ValidationError("--engine", concat(options.engine, ": this model runs as ", model.engine()));
}

void report_islands(const GlobalOptions& options, const Model& model, json& result) {
  if (!model.has_float_islands()) return;
  const std::size_t islands = float_islands(model.graph, *model.plan).size(),
                    products =
                        quantizable_nodes(model.graph).size() + full_nodes(model.graph).size() - islands;
  if (!options.quiet) std::printf("%zu nodes in integers, %zu in floating point\n", products, islands);
  result["integer_nodes"] = products;
  result["float_nodes"] = islands;
}

}  // namespace qhv
