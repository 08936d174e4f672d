// One function for both kinds of checkpoint. What a file is, its bytes decide, not its name: safetensors has
// the '{' of its header at byte 8, a PyTorch file begins as a zip file does.
//
// Errors: those of safetensors.h and torch_file.h; a file that is neither is told so.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "tensor/tensor_file.h"

namespace qhv {

TensorFile read_tensor_file(const std::string& path);

/// The same for a file that is in memory; `path` opens the error messages.
TensorFile parse_tensor_file(std::span<const std::byte> bytes, const std::string& path);

}  // namespace qhv
