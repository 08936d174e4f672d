// synth: synthetic images as files, DIR/<class>/<index>.png, for other programs and for the eye. The commands
// here need no files of them: synthetic:SPLIT[:COUNT] stands for the same images.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "data/synthetic.h"
#include "experiments/commands.h"
#include "experiments/progress.h"
#include "tensor/check.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string out, split = "val";
  std::optional<std::int64_t> count;
};

/// Makes DIR and its class folders. Files of an earlier run would mix with the new ones, so DIR must be new
/// or empty.
void make_folders(const std::string& dir, const std::vector<std::string>& classes) try {
  if (fs::exists(dir) && !fs::is_directory(dir)) file_error(dir, "is not a folder");
  if (fs::exists(dir) && !fs::is_empty(dir)) file_error(dir, "is not empty; the images go to a new folder");
  for (const std::string& name : classes) fs::create_directories(fs::path(dir) / name);
} catch (const fs::filesystem_error& error) {
  file_error(dir, "cannot be written (", error.code().message(), ")");
}

/// DIR/<class>/<index>.png, with as many digits for every index: names sort as numbers do.
std::string file_name(const std::string& dir, const Dataset& dataset, const Sample& sample) {
  constexpr std::size_t kDigits = 7;
  static_assert(kMaxSyntheticCount <= 10'000'000);
  const std::string index = sample.path.substr(sample.path.find('#') + 1);
  const std::string padded = std::string(kDigits - index.size(), '0') + index + ".png";
  return (fs::path(dir) / dataset.classes[std::size_t(sample.label)] / padded).string();
}

void synth(const Options& options, const GlobalOptions& global) {
  const auto start = std::chrono::steady_clock::now();
  const Dataset dataset = open_dataset(concat("synthetic:", options.split, options.count ? ":" : "",
                                              options.count ? std::to_string(*options.count) : ""));
  make_folders(options.out, dataset.classes);
  const auto count = std::int64_t(dataset.samples.size());
  {
    Progress progress(global.quiet);
    std::atomic<std::int64_t> done = 0;
    parallel_for(count, global.threads, [&](std::int64_t i) {
      const Sample& sample = dataset.samples[std::size_t(i)];
      write_png(file_name(options.out, dataset, sample), load_image(sample.path));
      progress.update("synth", double(++done) / double(count));
    });
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!global.quiet)
    std::printf("%s: %lld images of %zu classes in %s, %.1f s\n", options.split.c_str(),
                static_cast<long long>(count), dataset.classes.size(), options.out.c_str(), seconds);
  write_json(global, {{"split", options.split},
                      {"images", count},
                      {"classes", dataset.classes.size()},
                      {"seconds", seconds}});
}

}  // namespace

void add_synth(CLI::App& app, const GlobalOptions& global) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("synth", "Synthetic images as PNG files, DIR/<class>/<index>.png");
  command->add_option("--out", options->out, "A new or empty folder")->required()->option_text("DIR");
  command->add_option("--split", options->split, "train, calib, val (default) or test");
  command->add_option("--count", options->count, "How many images (default: all of the split)")
      ->check(CLI::Range(std::int64_t{1}, kMaxSyntheticCount));
  command->callback([options, &global] { synth(*options, global); });
}

}  // namespace qhv
