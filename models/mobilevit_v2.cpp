// The MobileViTv2 block (arXiv 2206.02680, section 3): everything stays channels first, [B, C, P, N].
#include "models/mobilevit.h"

namespace qhv {
namespace {

/// Separable self-attention: one score for each patch weighs the keys into a single context vector, which
/// gates the values: relu(v) * sum_n softmax(q)_n k_n. From the joint projection [B, 1 + 2 C, P, N].
Value separable_attention(const Value& qkv, const std::string& name, int dim) {
  const Value q = slice(qkv, name + ".q", {.axis = 1, .begin = 0, .end = 1});
  const Value k = slice(qkv, name + ".k", {.axis = 1, .begin = 1, .end = 1 + dim});
  const Value v = slice(qkv, name + ".v", {.axis = 1, .begin = 1 + dim, .end = 1 + 2 * dim});
  const Value weighted = mul(k, softmax(q, name + ".softmax"), name + ".weighted_k");
  const Value context = sum_last(weighted, name + ".context");
  return mul(relu(v, name + ".relu"), context, name + ".gate");
}

}  // namespace

Value mobilevit_block_v2(const Value& input, const std::string& name, const Arch& arch, int stage) {
  Graph& graph = *input.graph;
  const int dim = arch.dim[std::size_t(stage - 2)], depth = arch.depth[std::size_t(stage - 2)];
  const int channels = int(input.shape[1]);
  BlockScope block(graph, name, BlockKind::kMobileVit);

  Value x = resize_to_patches(input, name + ".resize", arch.patch, true);
  x = conv_norm_act(x, name + ".conv_kxk", channels, {.kernel = 3, .pad = 1, .groups = channels});
  // The bridge: from the convolutional map to the first projection of the transformer.
  BlockScope bridge(graph, name + ".bridge", BlockKind::kBridge);
  x = conv2d(x, name + ".conv_1x1", dim, {});
  const FoldPatches fold{arch.patch, PatchLayout::kChannelsFirst, x.shape[2], x.shape[3]};
  x = unfold_patches(x, name + ".unfold", {arch.patch, PatchLayout::kChannelsFirst});

  for (int i = 0; i < depth; ++i) {
    const std::string layer = concat(name, ".transformer.", i);
    BlockScope transformer(graph, layer, BlockKind::kTransformer);
    Value y = group_norm(x, layer + ".norm1");
    y = conv2d(y, layer + ".attn.qkv_proj", 1 + 2 * dim, {}, true);
    if (i == 0) bridge.close();
    y = separable_attention(y, layer + ".attn", dim);
    x = add(x, conv2d(y, layer + ".attn.out_proj", dim, {}, true), layer + ".add1");
    y = group_norm(x, layer + ".norm2");
    y = silu(conv2d(y, layer + ".mlp.fc1", 2 * dim, {}, true), layer + ".mlp.act");
    x = add(x, conv2d(y, layer + ".mlp.fc2", dim, {}, true), layer + ".add2");
    transformer.close();
  }
  x = group_norm(x, name + ".norm");

  BlockScope fusion(graph, name + ".fusion", BlockKind::kFusion);
  x = fold_patches(x, name + ".fold", fold);
  x = conv_norm_act(x, name + ".conv_proj", channels, {}, false);
  fusion.close();
  block.close();
  return x;
}

}  // namespace qhv
