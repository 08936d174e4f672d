#include "experiments/interrupted_run.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tensor/file.h"
#include "tensor/rng.h"
#include "tensor/untrusted.h"
#include "tensor/untrusted_json.h"

namespace qhv {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxBytes = 256 << 20;
constexpr int kMostLevels = 16;

std::uint64_t mixed(std::uint64_t seed, const Tensor& x) {
  const std::string_view bytes(reinterpret_cast<const char*>(x.data()), std::size_t(x.size()) * sizeof(real));
  return random_bits(seed, seed_of(bytes));
}

/// Everything that a run depends on, as a text: its options to be read, images and weights as a number.
std::string description(const std::string& method, const Model& model, const Calibration& c,
                        const std::string& reconstruction) {
  std::uint64_t content = 0;
  for (const Param& param : model.graph.params) content = mixed(content, param.value);
  for (const Tensor& image : c.images) content = mixed(content, image);
  std::string special;
  for (const auto& [layer, bits] : c.special_bits)
    special += concat(", ", layer, " W", bits.weight, "A", bits.input);
  return concat(method, ", W", c.wbits, "A", c.abits, special, c.full ? ", full" : "", ", ", c.images.size(),
                " images, seed ", c.seed, ", signal ", c.signal ? signal_name(*c.signal) : "of the method",
                ", search ", flavour_name(c.flavour), ", ", model.arch.name, " and images #", content,
                reconstruction.empty() ? "" : ", then ", reconstruction);
}

}  // namespace

InterruptedRun::InterruptedRun(const std::string& out, const std::string& method, const Model& model,
                               const Calibration& calibration, const std::string& reconstruction)
    : search_path_(out + ".search"),
      reconstruct_path_(out + ".reconstruct"),
      description_(description(method, model, calibration, reconstruction)) {
  if (!std::filesystem::exists(search_path_)) {
    // Without the file that says what it is of, the other could be taken for a later run's.
    std::filesystem::remove(reconstruct_path_);
    return;
  }
  const std::vector<std::byte> bytes = read_file(search_path_, kMaxBytes);
  try {
    const json file =
        parse_untrusted_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, search_path_,
                             "is not what an interrupted search leaves: it", kMostLevels);
    const std::string search = file.at("search");
    if (search != description_)
      file_error(search_path_, "is of another search, which was interrupted (", search,
                 "; this one: ", description_, "); remove it, or give --out another name");
    found_ = plan_from_json(file.at("plan"), search_path_ + ": plan");
  } catch (const json::exception& error) {
    file_error(search_path_, "is not what an interrupted search leaves (", error.what(), "); remove it");
  }
  if (std::filesystem::exists(reconstruct_path_)) reconstructed_ = load_model(reconstruct_path_);
}

void InterruptedRun::save(const QuantPlan& so_far) const {
  write_file(search_path_, json{{"search", description_}, {"plan", plan_to_json(so_far)}}.dump());
}

void InterruptedRun::save(const Model& so_far) const { save_quantized(reconstruct_path_, so_far); }

void InterruptedRun::remove() const {
  std::filesystem::remove(search_path_);
  std::filesystem::remove(reconstruct_path_);
}

}  // namespace qhv
