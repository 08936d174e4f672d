#include "models/mobilevit.h"

namespace qhv {
namespace {

/// Expand (1x1), filter (3x3 depthwise), project (1x1, no activation); added to the input where shapes allow.
Value inverted_residual(const Value& x, const std::string& name, const Arch& arch, int out, int stride) {
  BlockScope block(*x.graph, name, BlockKind::kInvertedResidual);
  const int in = int(x.shape[1]), middle = in * arch.expansion;
  Value y = conv_norm_act(x, name + ".conv1_1x1", middle, {});
  y = conv_norm_act(y, name + ".conv2_kxk", middle,
                    {.kernel = 3, .stride = stride, .pad = 1, .groups = middle});
  y = conv_norm_act(y, name + ".conv3_1x1", out, {}, false);
  if (stride == 1 && in == out) y = add(x, y, name + ".add");
  block.close();
  return y;
}

Value stage(Value x, const Arch& arch, int index) {
  const std::string name = concat("stages.", index);
  BlockScope block(*x.graph, name, BlockKind::kStage);
  const int out = arch.width[std::size_t(index)];
  const int residuals = index < 2 ? arch.residuals()[std::size_t(index)] : 1;
  for (int i = 0; i < residuals; ++i)
    x = inverted_residual(x, concat(name, '.', i), arch, out, index > 0 && i == 0 ? 2 : 1);
  if (index >= 2)
    x = arch.version == 1 ? mobilevit_block_v1(x, name + ".1", arch, index)
                          : mobilevit_block_v2(x, name + ".1", arch, index);
  block.close();
  return x;
}

}  // namespace

Value conv_norm_act(Value x, const std::string& name, int out, const ConvGeometry& geometry, bool activate) {
  x = conv2d(x, name + ".conv", out, geometry);
  x = batch_norm(x, name + ".bn");
  return activate ? silu(x, name + ".act") : x;
}

Value resize_to_patches(const Value& x, const std::string& name, int patch, bool align_corners) {
  const auto round_up = [patch](std::int64_t size) { return (size + patch - 1) / patch * patch; };
  const std::int64_t height = round_up(x.shape[2]), width = round_up(x.shape[3]);
  if (height == x.shape[2] && width == x.shape[3]) return x;
  return resize_bilinear(x, name, {height, width, align_corners});
}

Graph build_mobilevit(const Arch& arch, int classes, int res, bool bare) {
  require(classes >= 1, arch.name, classes, " classes");
  require(res >= kMinRes && res <= kMaxRes, arch.name, "input size ", res, " is not in ", kMinRes, " .. ",
          kMaxRes);
  Graph graph;
  graph.bare = bare;
  Value x = input(graph, {3, res, res});

  BlockScope stem(graph, "stem", BlockKind::kStem);
  x = conv_norm_act(x, "stem", arch.stem, {.kernel = 3, .stride = 2, .pad = 1});
  stem.close();

  for (int i = 0; i < 5; ++i) x = stage(x, arch, i);

  BlockScope head(graph, "head", BlockKind::kHead);
  if (arch.final_width) {
    BlockScope final_conv(graph, "final_conv", BlockKind::kHead);
    x = conv_norm_act(x, "final_conv", arch.final_width, {});
    final_conv.close();
  }
  x = global_avg_pool(x, "head.global_pool");
  linear(x, "head.fc", classes);
  head.close();
  validate(graph);
  return graph;
}

}  // namespace qhv
