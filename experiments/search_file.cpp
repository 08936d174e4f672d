#include "experiments/search_file.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tensor/file.h"
#include "tensor/rng.h"
#include "tensor/untrusted.h"

namespace qhv {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxBytes = 256 << 20;

std::uint64_t mixed(std::uint64_t seed, const Tensor& x) {
  const std::string_view bytes(reinterpret_cast<const char*>(x.data()), std::size_t(x.size()) * sizeof(real));
  return random_bits(seed, seed_of(bytes));
}

/// Everything that a search depends on, as a text: its options to be read, images and weights as a number.
std::string description(const std::string& method, const Model& model, const Calibration& c) {
  std::uint64_t content = 0;
  for (const Param& param : model.graph.params) content = mixed(content, param.value);
  for (const Tensor& image : c.images) content = mixed(content, image);
  return concat(method, ", W", c.wbits, "A", c.abits, c.full ? ", full" : "", ", ", c.images.size(),
                " images, seed ", c.seed, ", signal ", c.signal ? signal_name(*c.signal) : "of the method",
                ", search ", flavour_name(c.flavour), ", ", model.arch.name, " and images #", content);
}

}  // namespace

SearchFile::SearchFile(const std::string& out, const std::string& method, const Model& model,
                       const Calibration& calibration)
    : path_(out + ".search"), search_(description(method, model, calibration)) {
  if (!std::filesystem::exists(path_)) return;
  const std::vector<std::byte> bytes = read_file(path_, kMaxBytes);
  try {
    const json file =
        json::parse(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    const std::string search = file.at("search");
    if (search != search_)
      file_error(path_, "is of another search, which was interrupted (", search, "; this one: ", search_,
                 "); remove it, or give --out another name");
    found_ = plan_from_json(file.at("plan").dump(), path_ + ": plan");
  } catch (const json::exception& error) {
    file_error(path_, "is not what an interrupted search leaves (", error.what(), "); remove it");
  }
}

void SearchFile::save(const QuantPlan& so_far) const {
  write_file(path_, json{{"search", search_}, {"plan", json::parse(plan_to_json(so_far))}}.dump());
}

void SearchFile::remove() const { std::filesystem::remove(path_); }

}  // namespace qhv
