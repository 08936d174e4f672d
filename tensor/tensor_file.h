// What a file of tensors holds, before anything is computed with it: each tensor's name, element type, shape
// and little-endian bytes. Both readers (safetensors.h, torch_file.h) return this, and so does nobody else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace qhv {

enum class DType { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };

/// safetensors' name of the type ("F32", "BF16", "BOOL", ...).
const char* dtype_name(DType dtype);
/// Bytes of one element.
std::size_t dtype_size(DType dtype);

struct RawTensor {
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::byte> bytes;  // element_count(shape) * dtype_size(dtype), row-major, little-endian
};

struct TensorFile {
  std::map<std::string, RawTensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// The values as real, from any floating-point type. `where` ("path: tensor name") opens the error message.
Tensor to_real(const RawTensor& raw, const std::string& where);
/// The values of an I8, U8, I16 or I32 tensor.
TensorI32 to_codes(const RawTensor& raw, const std::string& where);

RawTensor to_raw_f32(const Tensor& tensor);
/// Rounded to the nearest half, ties to even. Infinity and NaN are kept; std::invalid_argument for a finite
/// value that would become infinite (65520 and above).
RawTensor to_raw_f16(const Tensor& tensor);
/// As the smallest of I8, U8, I16 and I32 that holds low .. high, within which all values must lie.
RawTensor to_raw_codes(const TensorI32& tensor, std::int32_t low, std::int32_t high);

}  // namespace qhv
