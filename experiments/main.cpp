// qhyvit: post-training quantisation of hybrid vision transformers. Exit codes: 0 done, 1 it failed (one line
// on stderr says what and where), 2 wrong usage.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#if __has_include(<malloc.h>)
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "experiments/commands.h"
#include "tensor/file.h"

namespace qhv {

void write_json(const GlobalOptions& global, const nlohmann::json& result) {
  if (!global.json.empty()) write_file(global.json, result.dump(1) + "\n");
}

Model load_model_or_arch(const std::string& file_or_arch, std::optional<int> res, bool in_integers) {
  const Arch* arch = find_arch(file_or_arch);
  if (arch && !std::filesystem::exists(file_or_arch)) return generated_model(*arch, 1000, res.value_or(256));
  return load_model(file_or_arch, res, in_integers);
}

namespace {

/// A pass frees and allocates the same large buffers again and again. By default the C library hands them
/// back to the system each time, and half of the run goes into page faults: it shall keep them. The pad, as
/// large as one heap of a thread, keeps those heaps too. Loading a model touches thousands of pages for the
/// first time, half of its time with small pages: the heap's first pad shall be of large ones, where there
/// are any.
void set_up_heap() {
#ifdef __GLIBC__
  constexpr int kPad = 64 << 20;
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, kPad);
  constexpr std::uintptr_t kLargePage = 2 << 20;
  const auto begin = (reinterpret_cast<std::uintptr_t>(sbrk(0)) + kLargePage - 1) / kLargePage * kLargePage;
  void* volatile more_than_there_is = std::malloc(kPad / 64);  // so that the heap grows by the pad now
  std::free(more_than_there_is);
  const auto end = reinterpret_cast<std::uintptr_t>(sbrk(0));
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

/// An error is one line, whatever a file's name holds.
std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return text;
}

int run_program(int argc, char** argv) {
  CLI::App app(
      "Post-training quantisation of hybrid vision transformers (Q-HyViT), from checkpoint to accuracy.",
      "qhyvit");
  app.require_subcommand(1);
  app.fallthrough();  // global options are understood after the command too
  GlobalOptions global;
  global.threads = int(std::max(1u, std::thread::hardware_concurrency()));
  add_global_options(app, global);
  app.parse_complete_callback([&] {
    check_global_options(global);
    try {
      select_kernels(global);
    } catch (const std::invalid_argument& error) {
      throw CLI::ValidationError("--kernels", error.what());
    }
    if (!global.json.empty()) require_writable(global.json);
  });
  add_info(app, global);
  add_classify(app, global);
  add_eval(app, global);
  add_quantize(app, global);
  add_table(app, global);
  add_bench(app, global);
  add_synth(app, global);
  add_train(app, global);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return 0;
}

}  // namespace
}  // namespace qhv

int main(int argc, char** argv) {
  qhv::set_up_heap();
  try {
    return qhv::run_program(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "qhyvit: not enough memory\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "qhyvit: %s\n", qhv::one_line(error.what()).c_str());
  }
  return 1;
}
