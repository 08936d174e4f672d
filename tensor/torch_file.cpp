#include "tensor/torch_file.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>

#include "tensor/file.h"
#include "tensor/pickle.h"
#include "tensor/untrusted.h"
#include "tensor/zip_reader.h"

namespace qhv {
namespace {

constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr std::pair<std::string_view, DType> kStorages[] = {
    {"torch.DoubleStorage", DType::kF64}, {"torch.FloatStorage", DType::kF32},
    {"torch.HalfStorage", DType::kF16},   {"torch.BFloat16Storage", DType::kBF16},
    {"torch.LongStorage", DType::kI64},   {"torch.IntStorage", DType::kI32},
    {"torch.ShortStorage", DType::kI16},  {"torch.CharStorage", DType::kI8},
    {"torch.ByteStorage", DType::kU8},    {"torch.BoolStorage", DType::kBool}};
constexpr std::string_view kAllowed[] = {kRebuildTensor,     kRebuildParameter,  kStorages[0].first,
                                         kStorages[1].first, kStorages[2].first, kStorages[3].first,
                                         kStorages[4].first, kStorages[5].first, kStorages[6].first,
                                         kStorages[7].first, kStorages[8].first, kStorages[9].first};

constexpr const char* kAdvice = "; in PyTorch, save it anew with torch.save(model.state_dict(), path)";

/// A tensor as the pickle describes it: a window into a storage, in elements.
struct View {
  DType dtype;
  std::string storage;  // name of the record
  std::uint64_t storage_size, offset;
  Shape shape, stride;
};

/// The elements that the view selects, in row-major order.
std::vector<std::byte> gather(const View& view, const std::vector<std::byte>& storage, std::uint64_t bytes) {
  struct Axis {
    std::uint64_t extent, stride, index;
  };
  std::vector<Axis> axes;  // innermost first, and only those that move: so a step costs less than two axes
  for (std::size_t i = view.shape.size(); i-- > 0;)
    if (view.shape[i] > 1) axes.push_back({std::uint64_t(view.shape[i]), std::uint64_t(view.stride[i]), 0});

  const std::size_t width = dtype_size(view.dtype);
  std::vector<std::byte> result;
  result.reserve(bytes);
  std::uint64_t at = view.offset;
  while (result.size() < bytes) {
    const auto element = storage.begin() + std::ptrdiff_t(at * width);
    result.insert(result.end(), element, element + std::ptrdiff_t(width));
    // Step the innermost axis; where one is through, go back to its start and step the next.
    for (Axis& axis : axes) {
      if (++axis.index < axis.extent) {
        at += axis.stride;
        break;
      }
      at -= axis.stride * (axis.extent - 1);
      axis.index = 0;
    }
  }
  return result;
}

class TorchReader {
 public:
  TorchReader(std::span<const std::byte> bytes, const std::string& path)
      : path_(path), zip_(bytes, path), left_(unpack_limit(bytes.size())) {}

  TensorFile read() {
    find_prefix();
    check_byte_order();
    pickle_ = parse_pickle(zip_.read(prefix_ + "data.pkl"), kAllowed, concat(path_, ": data.pkl"));

    TensorFile file;
    for (const auto& [key, value] : state_dict().items) {
      const auto& name = get<std::string>(key, path_, "a name in the state_dict");
      if (file.tensors.contains(name)) file_error(path_, "tensor ", in_quotes(name), " appears twice");
      file.tensors[name] = read_tensor(value, concat(path_, ": tensor ", in_quotes(name)));
    }
    return file;
  }

 private:
  /// A value of the pickle that must be of this kind; `what` it is goes into the message.
  template <typename T>
  const T& get(int id, const std::string& where, const char* what) const {
    const PickleValue& value = pickle_.values[std::size_t(id)];
    if (const T* found = std::get_if<T>(&value)) return *found;
    file_error(where, what, " is ", kind_name(value), ", expected ", kind_name(T{}));
  }
  /// An integer from 0 to 2^63 - 1.
  std::int64_t get_size(int id, const std::string& where, const char* what) const {
    const std::int64_t number = get<std::int64_t>(id, where, what);
    if (number < 0) file_error(where, what, " is ", number);
    return number;
  }
  Shape get_sizes(int id, const std::string& where, const char* what) const {
    const auto& items = get<PickleTuple>(id, where, what).items;
    if (items.size() > kMaxRank)
      file_error(where, what, " has ", items.size(), " numbers, at most ", kMaxRank);
    Shape sizes;
    for (const int item : items) sizes.push_back(get_size(item, where, what));
    return sizes;
  }

  /// The folder, with its slash, that holds data.pkl.
  void find_prefix() {
    constexpr std::string_view kPickle = "/data.pkl";
    std::optional<std::string> prefix;
    for (const auto& [name, record] : zip_.records()) {
      if (!name.ends_with(kPickle)) continue;
      if (prefix) file_error(path_, "has more than one data.pkl");
      prefix = name.substr(0, name.size() - kPickle.size() + 1);
    }
    if (!prefix) file_error(path_, "is a zip file without a data.pkl, so torch.save did not write it");
    prefix_ = *prefix;
    for (const auto& [name, record] : zip_.records())
      if (name == prefix_ + "constants.pkl" || name.starts_with(prefix_ + "code/"))
        file_error(path_, "is a TorchScript archive, not a state_dict", kAdvice);
  }

  void check_byte_order() const {
    const std::string name = prefix_ + "byteorder";
    if (!zip_.records().contains(name)) return;
    const auto bytes = zip_.read(name);
    const std::string_view order(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (order != "little") file_error(path_, "the byte order is ", in_quotes(order), ", expected \"little\"");
  }

  const PickleDict& state_dict() const {
    const auto& root = get<PickleDict>(pickle_.root, path_, "the pickled object");
    for (const char* wanted : {"state_dict", "model_state_dict"})
      for (const auto& [key, value] : root.items) {
        const auto* name = std::get_if<std::string>(&pickle_.values[std::size_t(key)]);
        const auto* dict = std::get_if<PickleDict>(&pickle_.values[std::size_t(value)]);
        if (name && dict && *name == wanted) return *dict;
      }
    return root;
  }

  /// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]), where storage is
  /// the persistent id ("storage", type, key, device, element count). A parameter is _rebuild_parameter(
  /// tensor, requires_grad, hooks).
  View parse_view(int id, const std::string& where) const {
    const auto arguments_of = [&](int call_id, std::string_view* function) -> const std::vector<int>& {
      const PickleValue& value = pickle_.values[std::size_t(call_id)];
      const auto* call = std::get_if<PickleCall>(&value);
      if (!call)
        file_error(where, "expected a tensor, found ", kind_name(value),
                   " (the state_dict may be the whole file, or under state_dict or model_state_dict)");
      *function = get<PickleGlobal>(call->function, where, "the function").name;
      return get<PickleTuple>(call->arguments, where, "the argument list").items;
    };
    std::string_view function;
    const std::vector<int>* arguments = &arguments_of(id, &function);
    if (function == kRebuildParameter && !arguments->empty())
      arguments = &arguments_of(arguments->front(), &function);
    if (function != kRebuildTensor || arguments->size() < 4)
      file_error(where, "is not a tensor that this program can read (", function, " with ", arguments->size(),
                 " arguments)");

    const int storage_id =
        get<PicklePersistent>((*arguments)[0], where, "the first argument of the tensor").id;
    const auto& storage = get<PickleTuple>(storage_id, where, "the storage").items;
    if (storage.size() != 5) file_error(where, "the storage has ", storage.size(), " fields, expected 5");
    if (get<std::string>(storage[0], where, "the kind of storage") != "storage")
      file_error(where, "the stored object is not a storage");

    View view;
    const auto type = get<PickleGlobal>(storage[1], where, "the type of the storage").name;
    const auto* known = std::find_if(std::begin(kStorages), std::end(kStorages),
                                     [&](const auto& one) { return one.first == type; });
    if (known == std::end(kStorages)) file_error(where, "the type of the storage is ", type);
    view.dtype = known->second;
    view.storage = prefix_ + "data/" + get<std::string>(storage[2], where, "the key of the storage");
    view.storage_size = std::uint64_t(get_size(storage[4], where, "the size of the storage"));
    view.offset = std::uint64_t(get_size((*arguments)[1], where, "the storage offset"));
    view.shape = get_sizes((*arguments)[2], where, "the shape");
    view.stride = get_sizes((*arguments)[3], where, "the stride");
    return view;
  }

  /// The record must be there with exactly this many elements, and the view must stay within it.
  std::uint64_t checked_bytes(const View& view, const std::string& where) const {
    const auto record = zip_.records().find(view.storage);
    if (record == zip_.records().end()) file_error(where, "record ", in_quotes(view.storage), " is missing");
    const std::uint64_t width = dtype_size(view.dtype), found = record->second.size;
    if (found % width != 0 || found / width != view.storage_size)
      file_error(where, "expected ", view.storage_size, " elements of ", dtype_name(view.dtype),
                 " in record ", in_quotes(view.storage), ", found ", found, " bytes");

    if (view.stride.size() != view.shape.size())
      file_error(where, "shape ", view.shape, " with stride ", view.stride);
    const auto bytes = byte_count(view.dtype, view.shape);
    if (!bytes) file_error(where, "shape ", view.shape, " is too large");
    if (*bytes == 0) return 0;
    // Without this, a stride of 0 would make a large tensor of one element.
    if (*bytes > found)
      file_error(where, "shape ", view.shape, " has more elements than the storage, ", view.storage_size);
    const auto outside = [&] {
      file_error(where, "shape ", view.shape, " with stride ", view.stride, " at offset ", view.offset,
                 " leaves the storage of ", view.storage_size, " elements");
    };
    if (view.offset >= view.storage_size) outside();
    std::uint64_t room = view.storage_size - 1 - view.offset;  // how far the last element may be away
    for (std::size_t axis = 0; axis < view.shape.size(); ++axis) {
      const auto steps = std::uint64_t(view.shape[axis] - 1), stride = std::uint64_t(view.stride[axis]);
      if (steps > 0 && stride > room / steps) outside();
      room -= steps * stride;
    }
    return *bytes;
  }

  RawTensor read_tensor(int id, const std::string& where) {
    View view = parse_view(id, where);
    const std::uint64_t bytes = checked_bytes(view, where);
    // Thousands of names for one storage would be thousands of copies.
    if (bytes > left_) file_error(where, "the tensors share storages too often for a file of this size");
    left_ -= bytes;
    auto& storage = storages_[view.storage];
    if (storage.empty()) storage = zip_.read(view.storage);
    std::vector<std::byte> values = gather(view, storage, bytes);
    return {view.dtype, std::move(view.shape), std::move(values)};
  }

  const std::string& path_;
  ZipReader zip_;
  std::string prefix_;
  Pickle pickle_;
  std::map<std::string, std::vector<std::byte>> storages_;  // read once, even if shared
  std::uint64_t left_;                                      // bytes that tensors may still take
};

}  // namespace

TensorFile parse_torch_file(std::span<const std::byte> bytes, const std::string& path) {
  using namespace std::string_view_literals;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("PK\3\4"sv)) return TorchReader(bytes, path).read();
  // torch.save before version 1.6 began with a pickled number of ten bytes.
  if (text.starts_with("\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv))
    file_error(path,
               "is a PyTorch file in the format before version 1.6; load it in PyTorch and save it anew"
               " with torch.save");
  if (text.starts_with('\x80')) file_error(path, "is a plain pickle, not a PyTorch zip file", kAdvice);
  file_error(path, "is not a PyTorch zip file");
}

TensorFile read_torch_file(const std::string& path) { return parse_torch_file(read_file(path), path); }

}  // namespace qhv
