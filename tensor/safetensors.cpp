#include "tensor/safetensors.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <tuple>

#include "tensor/bytes.h"
#include "tensor/file.h"
#include "tensor/untrusted.h"
#include "tensor/untrusted_json.h"

namespace qhv {
namespace {

using nlohmann::json;

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // the limit of the reference implementation
constexpr const char* kMetadata = "__metadata__";
constexpr DType kDTypes[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64,
                             DType::kI32, DType::kI16, DType::kI8,  DType::kU8,   DType::kBool};

/// One tensor of the header: everything but its bytes.
struct Entry {
  std::string name;
  DType dtype;
  Shape shape;
  std::uint64_t begin, end;
};

/// The header as JSON. The parser itself would accept any depth and let the last of two equal names win.
json parse_header(std::string_view text, const std::string& path) {
  if (!is_utf8(text)) file_error(path, "the header is not valid UTF-8");
  if (!text.starts_with('{')) file_error(path, "the header is not a JSON object");

  std::set<std::string> keys[2];  // of the header, and of the entry that is being read
  const auto check = [&](int depth, json::parse_event_t event, const json& parsed) {
    using Event = json::parse_event_t;
    if ((event == Event::object_start && depth > 1) || (event == Event::array_start && depth > 2))
      file_error(path, "the header is nested too deeply");
    if (event == Event::object_start) keys[depth].clear();
    if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys[depth - 1].insert(key).second)
        file_error(path, depth == 1 ? "tensor " : "a tensor's field ", in_quotes(key), " appears twice");
    }
    return true;
  };
  return parse_untrusted_json(text, path, "the header", check);
}

/// A list of numbers from 0 to 2^63 - 1.
std::vector<std::int64_t> parse_numbers(const json& list, const std::string& where, const char* field) {
  if (!list.is_array()) file_error(where, field, " is not a list");
  std::vector<std::int64_t> numbers;
  for (const json& item : list) {
    constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
    if (!item.is_number_unsigned() || item.get<std::uint64_t>() > kLargest)
      file_error(where, field, " holds something other than whole numbers from 0 to 2^63 - 1");
    numbers.push_back(item.get<std::int64_t>());
  }
  return numbers;
}

DType parse_dtype(const json& value, const std::string& where) {
  if (!value.is_string()) file_error(where, "dtype is not a string");
  const auto& name = value.get_ref<const std::string&>();
  for (const DType dtype : kDTypes)
    if (name == dtype_name(dtype)) return dtype;
  file_error(where, "dtype ", in_quotes(name), " is not supported");
}

Entry parse_entry(const std::string& name, const json& value, std::uint64_t data_size,
                  const std::string& path) {
  const std::string where = concat(path, ": tensor ", in_quotes(name));
  if (!value.is_object()) file_error(where, "its entry is not an object");
  for (const char* field : {"dtype", "shape", "data_offsets"})
    if (!value.contains(field)) file_error(where, field, " is missing");

  const DType dtype = parse_dtype(value["dtype"], where);
  const auto extents = parse_numbers(value["shape"], where, "shape");
  const auto offsets = parse_numbers(value["data_offsets"], where, "data_offsets");
  if (extents.size() > kMaxRank) file_error(where, extents.size(), " extents, at most ", kMaxRank);
  if (offsets.size() != 2) file_error(where, offsets.size(), " data_offsets, expected 2");

  Entry entry{name, dtype, Shape(extents.begin(), extents.end()), std::uint64_t(offsets[0]),
              std::uint64_t(offsets[1])};
  if (entry.begin > entry.end)
    file_error(where, "data_offsets are reversed: ", entry.begin, " to ", entry.end);
  if (entry.end > data_size)
    file_error(where, "ends at byte ", entry.end, " of the data, which has only ", data_size);
  const auto expected = byte_count(dtype, entry.shape);
  if (!expected) file_error(where, "shape ", entry.shape, " is too large");
  if (*expected != entry.end - entry.begin)
    file_error(where, "expected ", *expected, " bytes for ", dtype_name(dtype), ' ', entry.shape, ", found ",
               entry.end - entry.begin);
  return entry;
}

void parse_metadata(const json& value, const std::string& path, TensorFile& file) {
  if (!value.is_object()) file_error(path, kMetadata, " is not an object");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) file_error(path, kMetadata, ": the value of ", in_quotes(key), " is not a string");
    file.metadata[key] = text.get<std::string>();
  }
}

/// In the order of their bytes, every entry must begin where the one before it ended.
void require_no_gaps(std::vector<Entry>& entries, std::uint64_t data_size, const std::string& path) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  std::uint64_t end = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != end)
      file_error(path, "tensor ", in_quotes(entry.name), ": begins at byte ", entry.begin,
                 entry.begin < end ? " and overlaps another, which ends at " : " after a hole, expected ",
                 end);
    end = entry.end;
  }
  if (end != data_size) file_error(path, data_size - end, " bytes after the last tensor");
}

/// Bytes from the beginning on: each call gives the next ones, no more than there are.
using ReadBytes = std::function<void(std::span<std::byte> dst)>;

std::string read_header(std::uint64_t size, const ReadBytes& read, const std::string& path) {
  if (size < kLengthBytes)
    file_error(path, "is not a safetensors file: ", size, " bytes, too short for a header");
  std::byte length[kLengthBytes];
  read(length);
  const auto header_size = load_le<std::uint64_t>(length);
  if (header_size > kMaxHeader)
    file_error(path, "a header of ", header_size, " bytes, at most ", kMaxHeader,
               " (is it a safetensors file?)");
  if (header_size > size - kLengthBytes)
    file_error(path, "a header of ", header_size, " bytes, but only ", size - kLengthBytes, " follow");
  std::string text(header_size, ' ');
  read(std::as_writable_bytes(std::span(text)));
  return text;
}

/// Of `size` bytes. Those of tensors are read into their place.
TensorFile parse(std::uint64_t size, const ReadBytes& read, const std::string& path) {
  const std::string text = read_header(size, read, path);
  const std::uint64_t data_size = size - kLengthBytes - text.size();
  TensorFile file;
  std::vector<Entry> entries;
  const json header = parse_header(text, path);
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadata) {
      parse_metadata(value, path, file);
    } else {
      entries.push_back(parse_entry(name, value, data_size, path));
    }
  }
  require_no_gaps(entries, data_size, path);

  for (Entry& entry : entries) {
    std::vector<std::byte> bytes(entry.end - entry.begin);
    read(bytes);
    file.tensors[entry.name] = {entry.dtype, std::move(entry.shape), std::move(bytes)};
  }
  return file;
}

}  // namespace

TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::string& path) {
  const auto read = [rest = bytes](std::span<std::byte> dst) mutable {
    std::ranges::copy(rest.first(dst.size()), dst.begin());
    rest = rest.subspan(dst.size());
  };
  return parse(bytes.size(), read, path);
}

TensorFile read_safetensors(const std::string& path) {
  InputFile file(path);
  return parse(
      file.size(), [&](std::span<std::byte> dst) { file.read(dst); }, path);
}

void write_safetensors(const std::string& path, const TensorFile& file) {
  const auto text_of = [](const std::string& text) {
    require(is_utf8(text), "write_safetensors", in_quotes(text), " is not valid UTF-8");
    return json(text).dump();
  };

  std::vector<const std::pair<const std::string, RawTensor>*> order;
  for (const auto& item : file.tensors) order.push_back(&item);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return dtype_size(a->second.dtype) > dtype_size(b->second.dtype);
  });

  std::string header = "{";
  const auto separate = [&] { header += header.size() > 1 ? "," : ""; };
  if (!file.metadata.empty()) {
    header += concat('"', kMetadata, "\":{");
    for (bool first = true; const auto& [key, text] : file.metadata) {
      header += concat(first ? "" : ",", text_of(key), ':', text_of(text));
      first = false;
    }
    header += '}';
  }
  std::vector<std::span<const std::byte>> parts(2);  // length and header, known at the end
  std::uint64_t begin = 0;
  for (const auto* item : order) {
    const auto& [name, raw] = *item;
    require(name != kMetadata, "write_safetensors", "a tensor cannot be called ", kMetadata);
    require(raw.shape.size() <= kMaxRank, "write_safetensors", in_quotes(name), ": too many extents");
    require(byte_count(raw.dtype, raw.shape) == raw.bytes.size(), "write_safetensors", in_quotes(name), ": ",
            raw.bytes.size(), " bytes for ", dtype_name(raw.dtype), ' ', raw.shape);
    const json entry = {{"dtype", dtype_name(raw.dtype)},
                        {"shape", static_cast<const std::vector<std::int64_t>&>(raw.shape)},
                        {"data_offsets", {begin, begin + raw.bytes.size()}}};
    separate();
    header += concat(text_of(name), ':', entry.dump());
    if (!raw.bytes.empty()) parts.push_back(raw.bytes);
    begin += raw.bytes.size();
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  require(header.size() <= kMaxHeader, "write_safetensors", "a header of ", header.size(), " bytes");

  std::byte length[kLengthBytes];
  store_le(length, std::uint64_t(header.size()));
  parts[0] = length;
  parts[1] = std::as_bytes(std::span(header));
  write_file(path, parts);
}

}  // namespace qhv
