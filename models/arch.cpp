#include "models/arch.h"

#include <vector>

namespace qhv {
namespace {

/// Widths of multiplier percent / 100.
Arch v2(const std::string& digits, int percent) {
  const auto of = [percent](int width) { return width * percent / 100; };
  return {"mobilevitv2_" + digits,     2, of(32), {of(64), of(128), of(256), of(384), of(512)}, 2,
          {of(128), of(192), of(256)}, 0};
}

const std::vector<Arch>& table() {
  static const std::vector<Arch> archs{
      {"mobilevit_xxs", 1, 16, {16, 24, 48, 64, 80}, 2, {64, 80, 96}, 320},
      {"mobilevit_xs", 1, 16, {32, 48, 64, 80, 96}, 4, {96, 120, 144}, 384},
      {"mobilevit_s", 1, 16, {32, 64, 96, 128, 160}, 4, {144, 192, 240}, 640},
      v2("050", 50),
      v2("075", 75),
      v2("100", 100),
      v2("125", 125),
      v2("150", 150),
      v2("175", 175),
      v2("200", 200),
  };
  return archs;
}

}  // namespace

std::span<const Arch> known_archs() { return table(); }

const Arch* find_arch(const std::string& name) {
  for (const Arch& arch : table())
    if (arch.name == name) return &arch;
  return nullptr;
}

}  // namespace qhv
