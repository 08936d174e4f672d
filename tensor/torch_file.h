// PyTorch files (.pt, .pth) that torch.save wrote since version 1.6: a zip file with a pickle, which says
// what the tensors are called and how they are laid out, and their storages as plain little-endian bytes.
//
//   <prefix>/data.pkl      {"conv.weight": _rebuild_tensor_v2(storage "0", offset, size, stride, ...), ...}
//   <prefix>/data/0        the elements of storage "0"
//   <prefix>/byteorder     "little" (newer versions only)
//
// The pickle must be a state_dict, or a dict with one under "state_dict" or "model_state_dict", whose other
// entries are ignored. Nothing in it is executed (pickle.h). Tensors that share a storage become separate
// copies; views with strides become row-major. All of it together is bounded by unpack_limit (zip_reader.h).
//
// Errors: std::runtime_error. TorchScript archives, older files and plain pickles are told what they are.
// Source: torch/serialization.py and torch/_utils.py of PyTorch.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "tensor/tensor_file.h"

namespace qhv {

TensorFile read_torch_file(const std::string& path);

/// The same for a file that is in memory; `path` opens the error messages.
TensorFile parse_torch_file(std::span<const std::byte> bytes, const std::string& path);

}  // namespace qhv
