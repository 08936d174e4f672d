#include "models/checkpoint.h"

#include <cctype>
#include <cmath>
#include <utility>
#include <vector>

#include "nn/shapes.h"
#include "tensor/untrusted.h"

namespace qhv {
namespace {

/// "layer_3.1.x" is stage 2's block 1; "" if the name is not of this form.
std::string stage_name(const std::string& name) {
  if (!name.starts_with("layer_") || name.size() < 8 || name[6] < '1' || name[6] > '5' || name[7] != '.')
    return "";
  return concat("stages.", name[6] - '1', name.substr(7));
}

/// ".global_rep.<i>.weight" is the block's last norm, ".global_rep.<i>.<more>" a transformer layer.
std::string rename_global_rep(const std::string& name) {
  const std::string marker = ".global_rep.";
  const std::size_t at = name.find(marker);
  if (at == std::string::npos) return name;
  const std::size_t digits = at + marker.size();
  std::size_t end = digits;
  while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end]))) ++end;
  const std::string rest = name.substr(end);
  if (rest == ".weight" || rest == ".bias") return name.substr(0, at) + ".norm" + rest;
  return concat(name.substr(0, at), ".transformer.", name.substr(digits, end - digits), rest);
}

struct Prefix {
  const char *cvnets, *timm;
};
constexpr Prefix kPrefixes[] = {{"conv_1.", "stem."},
                                {"conv_1x1_exp.", "final_conv."},
                                {"classifier.fc.", "head.fc."},
                                {"classifier.1.", "head.fc."}};

// In order: a longer form before one that it contains. v2's checkpoints number the parts of local_rep.
constexpr Prefix kParts[] = {
    {".block.exp_1x1.", ".conv1_1x1."},
    {".block.conv_3x3.", ".conv2_kxk."},
    {".block.red_1x1.", ".conv3_1x1."},
    {".local_rep.conv_3x3.", ".conv_kxk."},
    {".local_rep.0.", ".conv_kxk."},
    {".local_rep.conv_1x1.block.conv.", ".conv_1x1."},
    {".local_rep.1.block.conv.", ".conv_1x1."},
    {".pre_norm_mha.0.", ".norm1."},
    {".pre_norm_mha.1.qkv_proj.", ".attn.qkv."},
    {".pre_norm_mha.1.out_proj.", ".attn.proj."},
    {".pre_norm_attn.0.", ".norm1."},
    {".pre_norm_attn.1.qkv_proj.block.conv.", ".attn.qkv_proj."},
    {".pre_norm_attn.1.out_proj.block.conv.", ".attn.out_proj."},
    {".pre_norm_ffn.0.", ".norm2."},
    {".pre_norm_ffn.1.block.conv.", ".mlp.fc1."},
    {".pre_norm_ffn.3.block.conv.", ".mlp.fc2."},
    {".pre_norm_ffn.1.", ".mlp.fc1."},
    {".pre_norm_ffn.4.", ".mlp.fc2."},
    {".fusion.", ".conv_fusion."},
    {".block.conv.", ".conv."},
    {".block.norm.", ".bn."},
};

std::int64_t extent(const std::map<std::string, RawTensor>& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  return found == tensors.end() || found->second.shape.empty() ? -1 : found->second.shape[0];
}

}  // namespace

std::string timm_name(const std::string& original) {
  std::string name = original.starts_with("module.") ? original.substr(7) : original;  // DataParallel
  std::string translated = stage_name(name);
  for (const Prefix& p : kPrefixes)
    if (name.starts_with(p.cvnets)) translated = p.timm + name.substr(std::string(p.cvnets).size());
  if (translated.empty()) return name;
  for (const Prefix& p : kParts)
    if (const std::size_t at = translated.find(p.cvnets); at != std::string::npos)
      translated.replace(at, std::string(p.cvnets).size(), p.timm);
  return rename_global_rep(translated);
}

std::map<std::string, RawTensor> timm_tensors(TensorFile file, const std::string& path) {
  std::map<std::string, RawTensor> renamed;
  for (auto& [name, tensor] : file.tensors) {
    if (name.ends_with("num_batches_tracked")) continue;
    const std::string target = timm_name(name);
    if (!renamed.emplace(target, std::move(tensor)).second)
      file_error(path, "two tensors for ", in_quotes(target), " (one is called ", in_quotes(name), ")");
  }
  return renamed;
}

const Arch& detect_arch(const std::map<std::string, RawTensor>& tensors, const std::string& path) {
  const bool v2 = tensors.contains("stages.2.1.transformer.0.attn.qkv_proj.weight");
  const bool v1 = tensors.contains("stages.2.1.transformer.0.attn.qkv.weight");
  const Arch* best = nullptr;
  int most = 0, probes = 0;
  for (const Arch& arch : known_archs()) {
    int agree = 0;
    probes = 0;
    const auto probe = [&](bool agrees) { ++probes, agree += agrees; };
    probe(arch.version == 1 ? v1 : v2);
    probe(extent(tensors, "stem.conv.weight") == arch.stem);
    for (int i = 0; i < 5; ++i)
      probe(extent(tensors, concat("stages.", i, ".0.conv3_1x1.conv.weight")) == arch.width[std::size_t(i)]);
    for (int i = 0; i < 3; ++i)
      probe(extent(tensors, concat("stages.", i + 2, ".1.transformer.0.norm1.weight")) ==
            arch.dim[std::size_t(i)]);
    if (agree > most) {
      most = agree;
      best = &arch;
    }
  }
  // A clear majority: what remains is then reported tensor by tensor by check_tensors.
  if (!best || 3 * most < 2 * probes)
    file_error(path, "these ", tensors.size(), " tensors are not a MobileViT that is known here",
               tensors.empty() ? "" : concat(" (the first is ", in_quotes(tensors.begin()->first), ")"));
  return *best;
}

int detect_classes(const std::map<std::string, RawTensor>& tensors, const Arch& arch,
                   const std::string& path) {
  const auto found = tensors.find("head.fc.weight");
  if (found == tensors.end()) file_error(path, "tensor head.fc.weight is missing");
  // The network is built for so many classes before its shapes are compared: they have to be in the file.
  const Shape& shape = found->second.shape;
  if (shape.size() != 2 || shape[1] != arch.features())
    file_error(path, "tensor head.fc.weight has shape ", shape, " instead of [classes, ", arch.features(),
               "]");
  if (shape[0] < 1 || shape[0] > 1000000)
    file_error(path, "tensor head.fc.weight is for ", shape[0], " classes");
  return int(shape[0]);
}

void check_tensors(const Graph& graph, const std::map<std::string, RawTensor>& tensors,
                   const std::string& path) {
  const std::vector<Shape> shapes = parameter_shapes(graph);
  std::map<std::string, const Shape*> expected;
  for (std::size_t i = 0; i < shapes.size(); ++i) expected.emplace(graph.params[i].name, &shapes[i]);
  for (const auto& [name, shape] : expected) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) file_error(path, "tensor ", name, " of shape ", *shape, " is missing");
    if (found->second.shape != *shape)
      file_error(path, "tensor ", name, " has shape ", found->second.shape, " instead of ", *shape);
  }
  for (const auto& [name, tensor] : tensors)
    if (!expected.contains(name))
      file_error(path, "tensor ", in_quotes(name), " of shape ", tensor.shape,
                 " has no place in the network");
}

void check_finite(const Tensor& tensor, const std::string& where) {
  for (std::int64_t i = 0; i < tensor.size(); ++i)
    if (!std::isfinite(tensor[i]))
      file_error(where, "element ", i, " is ", std::isnan(tensor[i]) ? "NaN" : "infinite");
}

}  // namespace qhv
