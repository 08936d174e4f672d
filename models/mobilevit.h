// MobileViT as a graph: inverted residuals (MobileNetV2) and, in stages 2 to 4, blocks that turn the map into
// tokens, run transformer layers over them, and turn them back.
//
//   v1 (arXiv 2110.02178): softmax attention among the patches, for each position in the patch; the result is
//   joined
//      with the block's input and fused by a 3x3 convolution.
//   v2 (arXiv 2206.02680): separable attention, linear in the number of patches; no fusion.
//
// Node and parameter names are those of timm's state_dict, so that a checkpoint's tensors fit by name.
#pragma once

#include "models/arch.h"
#include "nn/build.h"

namespace qhv {

/// The network for images [B, 3, res, res], parameters zero, or empty if it is to be `bare`. Maps whose size
/// is not a multiple of the patch are resized as timm does. Throws std::invalid_argument for classes < 1 or
/// res outside of kMinRes .. kMaxRes.
Graph build_mobilevit(const Arch& arch, int classes, int res, bool bare = false);

// Parts that both versions share, in mobilevit.cpp; mobilevit_v1.cpp and mobilevit_v2.cpp hold one block
// each.

/// Convolution, BatchNorm and, unless `activate` is false, SiLU: "<name>.conv", "<name>.bn", "<name>.act".
Value conv_norm_act(Value x, const std::string& name, int out, const ConvGeometry& geometry,
                    bool activate = true);

/// x resized so that its sides are multiples of the patch; x itself if they are.
Value resize_to_patches(const Value& x, const std::string& name, int patch, bool align_corners);

/// The MobileViT block of stage 2, 3 or 4.
Value mobilevit_block_v1(const Value& x, const std::string& name, const Arch& arch, int stage);
Value mobilevit_block_v2(const Value& x, const std::string& name, const Arch& arch, int stage);

}  // namespace qhv
