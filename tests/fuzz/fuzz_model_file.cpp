// Quantised safetensors files (tests/hostile_model.h). Bytes are changed one by one, or the JSON of the
// header and of the metadata in it, with the length in front and mostly the tensors' places set right again.
#include <algorithm>
#include <optional>

#include "tensor/bytes.h"
#include "tensor/untrusted.h"
#include "tensor/untrusted_json.h"
#include "tests/fuzz/mutate_json.h"
#include "tests/hostile_model.h"

using namespace qhv;
using namespace qhv::test;
using nlohmann::json;

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

constexpr std::size_t kLengthBytes = 8;

struct Parts {
  json header;
  std::string data;
};

std::optional<Parts> parts_of(std::string_view file) {
  if (file.size() < kLengthBytes) return std::nullopt;
  const auto length = load_le<std::uint64_t>(reinterpret_cast<const std::byte*>(file.data()));
  file.remove_prefix(kLengthBytes);
  if (length > file.size()) return std::nullopt;
  json header = json::parse(file.substr(0, length), nullptr, false);
  if (!header.is_object()) return std::nullopt;
  return Parts{std::move(header), std::string(file.substr(length))};
}

std::string file_of(const Parts& parts) {
  const std::string header = parts.header.dump(-1, ' ', false, json::error_handler_t::replace);
  std::string length(kLengthBytes, '\0');
  store_le(reinterpret_cast<std::byte*>(length.data()), std::uint64_t(header.size()));
  return length + header + parts.data;
}

std::uint64_t bytes_of(const json& entry) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kI32, DType::kI16, DType::kI8, DType::kU8})
    if (entry.at("dtype") == dtype_name(dtype)) {
      const auto extents = whole_numbers<std::int64_t>(entry.at("shape"), "tensor", "shape");
      return byte_count(dtype, Shape(extents.begin(), extents.end())).value_or(0);
    }
  return 0;
}

/// Gives every tensor its bytes, in the order of the names.
void repair(Parts& parts, std::size_t most) {
  std::uint64_t end = 0;
  for (auto& [name, entry] : parts.header.items()) {
    if (name == "__metadata__") continue;
    const std::uint64_t begin = end;
    end = begin + std::min<std::uint64_t>(bytes_of(entry), most);
    entry["data_offsets"] = {begin, end};
  }
  if (end <= most) parts.data.resize(end, '\1');
}

void mutate_header(json& header, Random& random) {
  json* metadata = header.contains("__metadata__") ? &header["__metadata__"] : nullptr;
  if (metadata && draw(random, 2) && metadata->is_object() && metadata->contains("qhyvit") &&
      (*metadata)["qhyvit"].is_string()) {
    json inner = json::parse((*metadata)["qhyvit"].get<std::string>(), nullptr, false);
    if (!inner.is_discarded()) mutate_json(inner, random);
    (*metadata)["qhyvit"] = inner.dump(-1, ' ', false, json::error_handler_t::replace);
  } else {
    mutate_json(header, random);
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  Random random(seed);
  std::optional<Parts> parts = parts_of({reinterpret_cast<const char*>(data), size});
  if (!parts || draw(random, 4) == 0) return LLVMFuzzerMutate(data, size, max_size);
  try {
    mutate_header(parts->header, random);
    if (draw(random, 4)) repair(*parts, max_size);
  } catch (const std::exception&) {
    // Too far from a header to be repaired: it is tried as it is.
  }
  const std::string file = file_of(*parts);
  if (file.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::ranges::copy(file, data);
  return file.size();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try_model_file(std::as_bytes(std::span(data, size)));
  return 0;
}
