#include "tensor/tensor_file.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "tensor/bytes.h"
#include "tensor/untrusted.h"

namespace qhv {
namespace {

struct DTypeInfo {
  DType dtype;
  const char* name;
  std::size_t size;
};
constexpr DTypeInfo kDTypes[] = {{DType::kF64, "F64", 8},   {DType::kF32, "F32", 4}, {DType::kF16, "F16", 2},
                                 {DType::kBF16, "BF16", 2}, {DType::kI64, "I64", 8}, {DType::kI32, "I32", 4},
                                 {DType::kI16, "I16", 2},   {DType::kI8, "I8", 1},   {DType::kU8, "U8", 1},
                                 {DType::kBool, "BOOL", 1}};

const DTypeInfo& info(DType dtype) {
  const auto* found = std::find_if(std::begin(kDTypes), std::end(kDTypes),
                                   [&](const auto& one) { return one.dtype == dtype; });
  assert(found != std::end(kDTypes));
  return *found;
}

/// The readers make only tensors of the right size; this one may have been made by hand.
void require_consistent(const RawTensor& raw, const std::string& where) {
  const auto expected = byte_count(raw.dtype, raw.shape);
  require(expected == raw.bytes.size(), "raw tensor", where, ": ", raw.bytes.size(), " bytes for ",
          dtype_name(raw.dtype), ' ', raw.shape);
}

template <typename T, typename UInt, typename Decode>
TensorOf<T> decode(const RawTensor& raw, Decode value_of) {
  TensorOf<T> result = TensorOf<T>::uninitialized(raw.shape);
  const std::byte* src = raw.bytes.data();
  for (T& value : result.values()) {
    value = T(value_of(load_le<UInt>(src)));
    src += sizeof(UInt);
  }
  return result;
}

}  // namespace

const char* dtype_name(DType dtype) { return info(dtype).name; }
std::size_t dtype_size(DType dtype) { return info(dtype).size; }

Tensor to_real(const RawTensor& raw, const std::string& where) {
  require_consistent(raw, where);
  switch (raw.dtype) {
    // Where real is float, values are rounded to the nearest, and those beyond its range become infinite.
    case DType::kF64:
      return decode<real, std::uint64_t>(raw, [](std::uint64_t bits) { return std::bit_cast<double>(bits); });
    case DType::kF32:
      return decode<real, std::uint32_t>(raw, [](std::uint32_t bits) { return std::bit_cast<float>(bits); });
    case DType::kF16:
      return decode<real, std::uint16_t>(raw, half_to_float);
    case DType::kBF16:
      return decode<real, std::uint16_t>(raw, bfloat16_to_float);
    default:
      file_error(where, "expected a floating-point type (F64, F32, F16 or BF16), found ",
                 dtype_name(raw.dtype), ' ', raw.shape);
  }
}

TensorI32 to_codes(const RawTensor& raw, const std::string& where) {
  require_consistent(raw, where);
  switch (raw.dtype) {
    case DType::kI8:
      return decode<std::int32_t, std::uint8_t>(raw, [](std::uint8_t bits) { return std::int8_t(bits); });
    case DType::kU8:
      return decode<std::int32_t, std::uint8_t>(raw, [](std::uint8_t bits) { return bits; });
    case DType::kI16:
      return decode<std::int32_t, std::uint16_t>(raw, [](std::uint16_t bits) { return std::int16_t(bits); });
    case DType::kI32:
      return decode<std::int32_t, std::uint32_t>(raw, [](std::uint32_t bits) { return std::int32_t(bits); });
    default:
      file_error(where, "expected integer codes, found ", dtype_name(raw.dtype), ' ', raw.shape);
  }
}

RawTensor to_raw_f32(const Tensor& tensor) {
  RawTensor raw{DType::kF32, tensor.shape(), std::vector<std::byte>(std::size_t(tensor.size()) * 4)};
  std::byte* dst = raw.bytes.data();
  for (const real value : tensor.values()) {
    store_le(dst, std::bit_cast<std::uint32_t>(float(value)));
    dst += 4;
  }
  return raw;
}

RawTensor to_raw_f16(const Tensor& tensor) {
  RawTensor raw{DType::kF16, tensor.shape(), std::vector<std::byte>(std::size_t(tensor.size()) * 2)};
  for (std::int64_t i = 0; i < tensor.size(); ++i) {
    const std::uint16_t half = double_to_half(double(tensor[i]));
    require((half & 0x7fff) != 0x7c00 || std::isinf(tensor[i]), "to_raw_f16", "element ", i, " of ",
            tensor.shape(), " is ", tensor[i], ", beyond the largest half, 65504");
    store_le(raw.bytes.data() + 2 * i, half);
  }
  return raw;
}

RawTensor to_raw_codes(const TensorI32& tensor, std::int32_t low, std::int32_t high) {
  const DType dtype = low >= -128 && high <= 127       ? DType::kI8
                      : low >= 0 && high <= 255        ? DType::kU8
                      : low >= -32768 && high <= 32767 ? DType::kI16
                                                       : DType::kI32;
  const std::size_t size = dtype_size(dtype);
  RawTensor raw{dtype, tensor.shape(), std::vector<std::byte>(std::size_t(tensor.size()) * size)};
  for (std::int64_t i = 0; i < tensor.size(); ++i) {
    require(tensor[i] >= low && tensor[i] <= high, "to_raw_codes", "code ", tensor[i], " outside of ", low,
            " .. ", high);
    for (std::size_t byte = 0; byte < size; ++byte)
      raw.bytes[std::size_t(i) * size + byte] = std::byte(std::uint32_t(tensor[i]) >> (8 * byte) & 0xff);
  }
  return raw;
}

}  // namespace qhv
