#include "tensor/read_tensor_file.h"

#include <algorithm>
#include <string_view>

#include "tensor/file.h"
#include "tensor/safetensors.h"
#include "tensor/torch_file.h"

namespace qhv {

namespace {

constexpr std::size_t kBeginning = 9;

/// A safetensors header of 19280 bytes begins with "PK" as a zip file does, so this is asked first. No zip
/// file or pickle of PyTorch has a '{' there.
bool is_safetensors(std::span<const std::byte> beginning) {
  return beginning.size() >= kBeginning && beginning[8] == std::byte('{');
}

}  // namespace

TensorFile parse_tensor_file(std::span<const std::byte> bytes, const std::string& path) {
  if (is_safetensors(bytes)) return parse_safetensors(bytes, path);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("PK") || text.starts_with('\x80')) return parse_torch_file(bytes, path);
  file_error(path, "is neither a safetensors file nor a PyTorch zip file (.pt, .pth)");
}

TensorFile read_tensor_file(const std::string& path) {
  InputFile file(path);
  std::byte beginning[kBeginning] = {};
  file.read(std::span(beginning).first(std::min<std::uint64_t>(kBeginning, file.size())));
  return is_safetensors(beginning) ? read_safetensors(path) : parse_tensor_file(read_file(path), path);
}

}  // namespace qhv
