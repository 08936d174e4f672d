// Names, detection, and every way in which a set of tensors can fail to be a network.
#include <cmath>
#include <doctest/doctest.h>
#include <set>

#include "models/checkpoint.h"
#include "models/generated.h"
#include "models/mobilevit.h"
#include "models/model.h"
#include "tensor/safetensors.h"
#include "tests/support.h"

using namespace qhv;

namespace {

TensorFile checkpoint(const std::string& arch, int classes = 7) {
  Graph graph = build_mobilevit(*find_arch(arch), classes, 64);
  generate_weights(graph);
  TensorFile file;
  for (const Param& p : graph.params) file.tensors.emplace(p.name, to_raw_f32(p.value));
  return file;
}

/// What loading this file says, without its path.
std::string load_error(const TensorFile& file) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "model.safetensors";
  write_safetensors(path, file);
  std::string error = test::error_of([&] { load_model(path, 64); });
  const std::size_t at = error.find(path + ": ");
  return at == std::string::npos ? error : error.erase(at, path.size() + 2);
}

}  // namespace

TEST_CASE("cvnets' names of MobileViTv1 become timm's") {
  const std::pair<const char*, const char*> names[] = {
      {"conv_1.block.conv.weight", "stem.conv.weight"},
      {"conv_1.block.norm.running_var", "stem.bn.running_var"},
      {"layer_1.0.block.exp_1x1.block.conv.weight", "stages.0.0.conv1_1x1.conv.weight"},
      {"layer_2.2.block.conv_3x3.block.norm.bias", "stages.1.2.conv2_kxk.bn.bias"},
      {"layer_3.0.block.red_1x1.block.norm.weight", "stages.2.0.conv3_1x1.bn.weight"},
      {"layer_3.1.local_rep.conv_3x3.block.conv.weight", "stages.2.1.conv_kxk.conv.weight"},
      {"layer_3.1.local_rep.conv_3x3.block.norm.weight", "stages.2.1.conv_kxk.bn.weight"},
      {"layer_3.1.local_rep.conv_1x1.block.conv.weight", "stages.2.1.conv_1x1.weight"},
      {"layer_4.1.global_rep.3.pre_norm_mha.0.weight", "stages.3.1.transformer.3.norm1.weight"},
      {"layer_4.1.global_rep.3.pre_norm_mha.1.qkv_proj.bias", "stages.3.1.transformer.3.attn.qkv.bias"},
      {"layer_4.1.global_rep.3.pre_norm_mha.1.out_proj.weight", "stages.3.1.transformer.3.attn.proj.weight"},
      {"layer_5.1.global_rep.0.pre_norm_ffn.0.bias", "stages.4.1.transformer.0.norm2.bias"},
      {"layer_5.1.global_rep.0.pre_norm_ffn.1.weight", "stages.4.1.transformer.0.mlp.fc1.weight"},
      {"layer_5.1.global_rep.0.pre_norm_ffn.4.bias", "stages.4.1.transformer.0.mlp.fc2.bias"},
      {"layer_5.1.global_rep.3.weight", "stages.4.1.norm.weight"},
      {"layer_5.1.conv_proj.block.conv.weight", "stages.4.1.conv_proj.conv.weight"},
      {"layer_5.1.fusion.block.norm.running_mean", "stages.4.1.conv_fusion.bn.running_mean"},
      {"conv_1x1_exp.block.conv.weight", "final_conv.conv.weight"},
      {"classifier.fc.bias", "head.fc.bias"},
      {"module.classifier.fc.bias", "head.fc.bias"},
  };
  for (const auto& [cvnets, timm] : names) CHECK(timm_name(cvnets) == timm);
}

TEST_CASE("cvnets' names of MobileViTv2 become timm's") {
  const std::pair<const char*, const char*> names[] = {
      {"layer_3.1.local_rep.0.block.conv.weight", "stages.2.1.conv_kxk.conv.weight"},
      {"layer_3.1.local_rep.0.block.norm.bias", "stages.2.1.conv_kxk.bn.bias"},
      {"layer_3.1.local_rep.1.block.conv.weight", "stages.2.1.conv_1x1.weight"},
      {"layer_3.1.global_rep.1.pre_norm_attn.0.weight", "stages.2.1.transformer.1.norm1.weight"},
      {"layer_3.1.global_rep.1.pre_norm_attn.1.qkv_proj.block.conv.bias",
       "stages.2.1.transformer.1.attn.qkv_proj.bias"},
      {"layer_3.1.global_rep.1.pre_norm_attn.1.out_proj.block.conv.weight",
       "stages.2.1.transformer.1.attn.out_proj.weight"},
      {"layer_3.1.global_rep.1.pre_norm_ffn.0.weight", "stages.2.1.transformer.1.norm2.weight"},
      {"layer_3.1.global_rep.1.pre_norm_ffn.1.block.conv.weight", "stages.2.1.transformer.1.mlp.fc1.weight"},
      {"layer_3.1.global_rep.1.pre_norm_ffn.3.block.conv.bias", "stages.2.1.transformer.1.mlp.fc2.bias"},
      {"layer_3.1.global_rep.2.bias", "stages.2.1.norm.bias"},
      {"layer_3.1.conv_proj.block.norm.weight", "stages.2.1.conv_proj.bn.weight"},
      {"classifier.1.weight", "head.fc.weight"},
  };
  for (const auto& [cvnets, timm] : names) CHECK(timm_name(cvnets) == timm);
}

TEST_CASE("timm's names and strangers stay as they are") {
  for (const Arch& arch : known_archs())
    for (const Param& p : build_mobilevit(arch, 3, 64).params) CHECK(timm_name(p.name) == p.name);
  for (const char* name : {"", "layer_", "layer_9.0.x", "layer_3", "conv_1", "epoch"})
    CHECK(timm_name(name) == name);
}

TEST_CASE("a file with cvnets' names fills the whole network") {
  const auto path = test::shared_path("models/ucm21_mobilevit_xxs.pt");
  if (!path) return;
  const Model model = load_model(*path);
  CHECK(model.arch.name == "mobilevit_xxs");
  CHECK(model.classes == 21);
}

TEST_CASE("the architecture and the number of classes follow from the tensors") {
  for (const Arch& arch : known_archs()) {
    const TensorFile file = checkpoint(arch.name, 11);
    CHECK(detect_arch(file.tensors, "f").name == arch.name);
    CHECK(detect_classes(file.tensors, arch, "f") == 11);
  }
  CHECK(load_error({}) == "runtime_error: these 0 tensors are not a MobileViT that is known here");
  TensorFile other;
  other.tensors.emplace("fc.weight", to_raw_f32(Tensor({2, 2})));
  CHECK(load_error(other) ==
        "runtime_error: these 1 tensors are not a MobileViT that is known here (the first is \"fc.weight\")");
}

TEST_CASE("a missing, extra, wrongly shaped or doubled tensor is named, with shapes") {
  const TensorFile good = checkpoint("mobilevitv2_050");
  CHECK(load_error(good) == "no error");
  const auto error = [&](auto change) {
    TensorFile file = good;
    change(file.tensors);
    return load_error(file);
  };
  using Tensors = std::map<std::string, RawTensor>;
  CHECK(error([](Tensors& t) { t.erase("stages.3.1.norm.bias"); }) ==
        "runtime_error: tensor stages.3.1.norm.bias of shape [96] is missing");
  CHECK(error([](Tensors& t) { t.erase("head.fc.weight"); }) ==
        "runtime_error: tensor head.fc.weight is missing");
  CHECK(error([](Tensors& t) {
          t.emplace("head.fc2.weight", to_raw_f32(Tensor({2, 3})));
        }) == "runtime_error: tensor \"head.fc2.weight\" of shape [2, 3] has no place in the network");
  CHECK(error([](Tensors& t) {
          t["stem.conv.weight"] = to_raw_f32(Tensor({16, 3, 5, 5}));
        }) == "runtime_error: tensor stem.conv.weight has shape [16, 3, 5, 5] instead of [16, 3, 3, 3]");
  CHECK(error([](Tensors& t) { t["head.fc.bias"] = to_raw_f32(Tensor({8})); }) ==
        "runtime_error: tensor head.fc.bias has shape [8] instead of [7]");
  CHECK(error([](Tensors& t) { t["classifier.1.bias"] = t["head.fc.bias"]; }) ==
        "runtime_error: two tensors for \"head.fc.bias\" (one is called \"head.fc.bias\")");
  CHECK(error([](Tensors& t) { t.emplace("stem.bn.num_batches_tracked", to_raw_f32(Tensor({1}))); }) ==
        "no error");
}

TEST_CASE("values that are no numbers, and types that are no weights, are refused") {
  TensorFile file = checkpoint("mobilevit_xxs");
  Tensor bias({7});
  bias[3] = real(NAN);
  file.tensors["head.fc.bias"] = to_raw_f32(bias);
  CHECK(load_error(file) == "runtime_error: tensor head.fc.bias: element 3 is NaN");
  bias[3] = real(-INFINITY);
  file.tensors["head.fc.bias"] = to_raw_f32(bias);
  CHECK(load_error(file) == "runtime_error: tensor head.fc.bias: element 3 is infinite");
  file.tensors["head.fc.bias"] = to_raw_codes(TensorI32({7}), -127, 127);
  CHECK(load_error(file).find("tensor head.fc.bias") != std::string::npos);
  CHECK(load_error(file).find("I8") != std::string::npos);
}
