// safetensors files: an 8-byte little-endian length N, N bytes of JSON, then the tensors' bytes without gaps.
//
//   {"__metadata__": {"arch": "..."},
//    "conv.weight": {"dtype": "F32", "shape": [16, 3, 3, 3], "data_offsets": [0, 1728]}, ...}
//
// Offsets count from the end of the header. Types: F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL. The reader takes
// nothing on trust: the header has at most 100 MB and three levels, names occur once, the tensors cover the
// data exactly, and each has shape x type bytes. Nothing is allocated for a tensor before that is checked.
//
// Errors: std::runtime_error for files; std::invalid_argument for a TensorFile that cannot be written.
// Source: the description of the format in the documentation of safetensors.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "tensor/tensor_file.h"

namespace qhv {

TensorFile read_safetensors(const std::string& path);

/// The same for a file that is in memory; `path` opens the error messages.
TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::string& path);

/// Replaces `path`. Equal contents give equal bytes: tensors of the largest element type come first (so that
/// each is aligned in the file), those of one size by name; the header is padded with spaces to 8 bytes.
void write_safetensors(const std::string& path, const TensorFile& file);

}  // namespace qhv
