#include "tensor/read_tensor_file.h"

#include <string_view>

#include "tensor/file.h"
#include "tensor/safetensors.h"
#include "tensor/torch_file.h"

namespace qhv {

TensorFile parse_tensor_file(std::span<const std::byte> bytes, const std::string& path) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  // In this order: a safetensors header of 19280 bytes begins with "PK", too. No zip file or pickle of
  // PyTorch has a '{' there.
  if (text.size() > 8 && text[8] == '{') return parse_safetensors(bytes, path);
  if (text.starts_with("PK") || text.starts_with('\x80')) return parse_torch_file(bytes, path);
  file_error(path, "is neither a safetensors file nor a PyTorch zip file (.pt, .pth)");
}

TensorFile read_tensor_file(const std::string& path) { return parse_tensor_file(read_file(path), path); }

}  // namespace qhv
