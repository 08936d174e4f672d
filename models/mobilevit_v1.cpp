// The MobileViTv1 block (arXiv 2110.02178, section 3.1).
#include <cmath>

#include "models/mobilevit.h"

namespace qhv {
namespace {

/// softmax(q k^T / sqrt(d)) v for each head, from the joint projection [B P, N, 3 C].
Value attention(const Value& qkv, const std::string& name, int heads) {
  const std::int64_t width = qkv.shape[2] / 3;
  const auto part = [&](const std::string& which, std::int64_t i) {
    const Value all =
        slice(qkv, name + ".slice_" + which, {.axis = 2, .begin = i * width, .end = (i + 1) * width});
    return split_heads(all, name + "." + which, heads);
  };
  const Value q = part("q", 0), k = part("k", 1), v = part("v", 2);
  const double scale = 1 / std::sqrt(double(width / heads));
  Value x = matmul(q, k, name + ".scores", {.transpose_b = true, .scale = scale});
  x = softmax(x, name + ".softmax");
  x = matmul(x, v, name + ".context", {});
  return merge_heads(x, name + ".merge");
}

}  // namespace

Value mobilevit_block_v1(const Value& input, const std::string& name, const Arch& arch, int stage) {
  Graph& graph = *input.graph;
  const int dim = arch.dim[std::size_t(stage - 2)], depth = arch.depth[std::size_t(stage - 2)];
  const int channels = int(input.shape[1]);
  BlockScope block(graph, name, BlockKind::kMobileVit);

  Value x = conv_norm_act(input, name + ".conv_kxk", channels, {.kernel = 3, .pad = 1});
  // The bridge: from the convolutional map to the first projection of the transformer.
  BlockScope bridge(graph, name + ".bridge", BlockKind::kBridge);
  x = conv2d(x, name + ".conv_1x1", dim, {});
  const std::int64_t height = x.shape[2], width = x.shape[3];
  x = resize_to_patches(x, name + ".resize", arch.patch, false);
  const FoldPatches fold{arch.patch, PatchLayout::kTokens, x.shape[2], x.shape[3]};
  x = unfold_patches(x, name + ".unfold", {arch.patch, PatchLayout::kTokens});

  for (int i = 0; i < depth; ++i) {
    const std::string layer = concat(name, ".transformer.", i);
    BlockScope transformer(graph, layer, BlockKind::kTransformer);
    Value y = layer_norm(x, layer + ".norm1");
    y = linear(y, layer + ".attn.qkv", 3 * dim);
    if (i == 0) bridge.close();
    y = attention(y, layer + ".attn", arch.heads);
    x = add(x, linear(y, layer + ".attn.proj", dim), layer + ".add1");
    y = layer_norm(x, layer + ".norm2");
    y = silu(linear(y, layer + ".mlp.fc1", 2 * dim), layer + ".mlp.act");
    x = add(x, linear(y, layer + ".mlp.fc2", dim), layer + ".add2");
    transformer.close();
  }
  x = layer_norm(x, name + ".norm");

  BlockScope fusion(graph, name + ".fusion", BlockKind::kFusion);
  x = fold_patches(x, name + ".fold", fold);
  if (fold.height != height || fold.width != width)
    x = resize_bilinear(x, name + ".resize_back", {height, width, false});
  x = conv_norm_act(x, name + ".conv_proj", channels, {});
  x = concat_axis({input, x}, name + ".concat", 1);
  x = conv_norm_act(x, name + ".conv_fusion", channels, {.kernel = 3, .pad = 1});
  fusion.close();
  block.close();
  return x;
}

}  // namespace qhv
