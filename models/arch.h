// The ten MobileViT variants as tables of channel counts.
//
// Sources: MobileViT (arXiv 2110.02178, table 4), Separable self-attention for mobile vision transformers
// (arXiv 2206.02680, table 4: the widths of v2 are those of 1.0 times a multiplier), and timm, whose names
// are used.
#pragma once

#include <array>
#include <span>
#include <string>

namespace qhv {

/// Input sizes, in pixels: below 32 the last map would be empty; the upper bound keeps memory bounded (about
/// 6 GiB).
constexpr int kMinRes = 32, kMaxRes = 2048;

struct Arch {
  std::string name;          // timm's: "mobilevit_xxs", "mobilevitv2_050", ...
  int version;               // 1 or 2
  int stem;                  // channels after the stem
  std::array<int, 5> width;  // channels after stages 0 .. 4
  int expansion;             // of the inverted residuals
  std::array<int, 3> dim;    // transformer widths of stages 2, 3, 4
  int final_width;           // channels of final_conv; 0: there is none (v2)

  // The same in all variants.
  std::array<int, 3> depth{2, 4, 3};  // transformer layers of stages 2, 3, 4
  int heads = 4;                      // attention heads (v1; v2's attention has one)
  int patch = 2;

  /// Channels that the classifier reads.
  int features() const { return final_width ? final_width : width[4]; }
  /// timm's crop fraction for evaluation.
  double crop_pct() const { return version == 1 ? 0.9 : 0.888; }
  /// Inverted residuals in stages 0 and 1; stages 2 to 4 have one and a MobileViT block.
  std::array<int, 2> residuals() const { return {1, version == 1 ? 3 : 2}; }
};

/// All variants, v1 first, by size.
std::span<const Arch> known_archs();

/// The variant of this name, or null.
const Arch* find_arch(const std::string& name);

}  // namespace qhv
