// Plans that are changed in a few places, as JSON patches of a sound one (tests/hostile_model.h).
#include <algorithm>

#include "tests/fuzz/mutate_json.h"
#include "tests/hostile_model.h"

using namespace qhv::test;
using nlohmann::json;

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

/// Another change, one less, or another value in one.
void mutate_patch(json& patch, Random& random) {
  const json& plan = sound_plan();
  const std::size_t kind = draw(random, 6);
  if (patch.empty() || kind < 3) {
    const json::json_pointer place = random_place(plan, random);
    const char* const op = kind == 0 ? "remove" : "replace";
    json change{{"op", op}, {"path", place.to_string()}};
    if (kind) change["value"] = hostile_value(plan, plan.at(place), random);
    patch.push_back(std::move(change));
  } else if (kind == 3) {
    patch.erase(draw(random, patch.size()));
  } else {
    json& change = patch[draw(random, patch.size())];
    if (change.is_object()) change["value"] = hostile_value(plan, change.value("value", json()), random);
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  Random random(seed);
  json patch = json::parse(data, data + size, nullptr, false);
  if (draw(random, 8) == 0) return LLVMFuzzerMutate(data, size, max_size);
  if (!patch.is_array()) patch = json::array();
  mutate_patch(patch, random);
  const std::string text = patch.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::ranges::copy(text, data);
  return text.size();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try_plan({reinterpret_cast<const char*>(data), size});
  return 0;
}
