// PyTorch zip files, put together here from pickle opcodes and storages, good and bad.
#include <algorithm>
#include <cstring>
#include <doctest/doctest.h>
#include <stdexcept>

#include "tensor/file.h"
#include "tensor/read_tensor_file.h"
#include "tensor/rng.h"
#include "tensor/safetensors.h"
#include "tensor/torch_file.h"
#include "tests/support.h"
#include "tests/torch_files.h"

using namespace qhv;
using namespace qhv::test;
using namespace std::string_literals;

namespace {

/// Six floats 0 .. 5 as storage "0", in the layout of torch.save.
const std::string kSix = bytes_of({0, 1, 2, 3, 4, 5});
Records records_of(const std::string& pickle) {
  return {{"archive/data.pkl", pickle},
          {"archive/byteorder", "little"},
          {"archive/data/0", kSix},
          {"archive/version", "3\n"}};
}
const std::string kStorage = storage("Float", "0", 6);

TensorFile parse(const std::string& file) { return parse_torch_file(std::as_bytes(std::span(file)), "f"); }
std::string file_error_of(const std::string& file) {
  return error_of([&] { parse(file); });
}
std::string error_with(const std::string& pickle) { return file_error_of(zip_of(records_of(pickle))); }
/// Loads {"w": value} and returns its values.
Tensor load(const std::string& value) {
  return to_real(parse(zip_of(records_of(one(value)))).tensors.at("w"), "w");
}
/// The error of {"w": value}, without what every such message begins with.
std::string tensor_error(const std::string& value) {
  const std::string error = error_with(one(value)), start = "runtime_error: f: tensor \"w\": ";
  return error.starts_with(start) ? error.substr(start.size()) : "unexpected start: " + error;
}

bool contains(const std::string& text, const std::string& words) { return text.find(words) != text.npos; }

}  // namespace

TEST_CASE("a state_dict") {
  const std::string value = rebuild(kStorage, 0, tuple({2, 3}), tuple({3, 1}));
  const Tensor expected({2, 3}, std::vector<real>{0, 1, 2, 3, 4, 5});
  CHECK(difference(load(value), expected, 0) == "");
  CHECK(difference(load("ctorch._utils\n_rebuild_parameter\n(" + value + "\x88" + kOrderedDict + "tR"),
                   expected, 0) == "");
  // Deflated, and the state of the OrderedDict that PyTorch attaches.
  const std::string with_state =
      program(dict({{str("w"), value}}) + "}" + str("_metadata") + dict({}) + "sb");
  CHECK(parse(zip_of(records_of(with_state), true)).tensors.size() == 1);
}

TEST_CASE("every storage type") {
  const std::tuple<const char*, DType, int> types[] = {
      {"Double", DType::kF64, 8},    {"Float", DType::kF32, 4}, {"Half", DType::kF16, 2},
      {"BFloat16", DType::kBF16, 2}, {"Long", DType::kI64, 8},  {"Int", DType::kI32, 4},
      {"Short", DType::kI16, 2},     {"Char", DType::kI8, 1},   {"Byte", DType::kU8, 1},
      {"Bool", DType::kBool, 1}};
  for (const auto& [name, dtype, size] : types) {
    const std::string value = rebuild(storage(name, "0", 24 / size), 0, tuple({24 / size}), tuple({1}));
    const RawTensor raw = parse(zip_of(records_of(one(value)))).tensors.at("w");
    CHECK(raw.dtype == dtype);
    CHECK(std::memcmp(raw.bytes.data(), kSix.data(), 24) == 0);
  }
}

TEST_CASE("views become row-major") {
  const auto view = [](std::int64_t offset, const std::vector<std::int64_t>& shape,
                       const std::vector<std::int64_t>& stride) {
    return load(rebuild(kStorage, offset, tuple(shape), tuple(stride)));
  };
  const auto values = [](Shape shape, std::vector<real> list) { return Tensor(std::move(shape), list); };
  CHECK(difference(view(0, {3, 2}, {1, 3}), values({3, 2}, {0, 3, 1, 4, 2, 5}), 0) == "");  // transposed
  CHECK(difference(view(1, {2}, {3}), values({2}, {1, 4}), 0) == "");                       // a column
  CHECK(difference(view(5, {}, {}), values({}, {5}), 0) == "");                             // a scalar
  CHECK(difference(view(4, {2, 1, 1}, {1, 99, 0}), values({2, 1, 1}, {4, 5}), 0) == "");
  CHECK(difference(view(2, {3, 2}, {0, 1}), values({3, 2}, {2, 3, 2, 3, 2, 3}), 0) == "");  // expanded, small
  CHECK(difference(view(0, {1, 2, 1, 3}, {6, 1, 6, 2}), values({1, 2, 1, 3}, {0, 2, 4, 1, 3, 5}), 0) == "");
  CHECK(view(6, {0, 2}, {2, 1}).shape() == Shape{0, 2});
}

TEST_CASE("storages may be shared") {
  const std::string pickle = program(dict({{str("a"), rebuild(kStorage, 0, tuple({2}), tuple({1}))},
                                           {str("b"), rebuild(kStorage, 1, tuple({2}), tuple({1}))},
                                           {str("c"), rebuild(kStorage, 0, tuple({2}), tuple({1}))}}));
  const TensorFile file = parse(zip_of(records_of(pickle)));
  CHECK(to_real(file.tensors.at("b"), "b")[1] == 2);
  CHECK(file.tensors.at("a").bytes == file.tensors.at("c").bytes);
}

TEST_CASE("a state_dict beside other things") {
  const std::string state = dict({{str("w"), rebuild(kStorage, 0, tuple({6}), tuple({1}))}});
  for (const char* name : {"state_dict", "model_state_dict"})
    for (const char* prefix : {"archive", "some/folder/name"}) {
      const std::string pickle =
          program("}(" + str("epoch") + num(3) + str("loss") + "G\x3f\xf0\0\0\0\0\0\0"s + str("best") + "N" +
                  str(name) + state + "u");
      const std::string folder = prefix;
      const TensorFile file = parse(zip_of({{folder + "/data.pkl", pickle}, {folder + "/data/0", kSix}}));
      CHECK(file.tensors.size() == 1);
      CHECK(file.tensors.contains("w"));
    }
}

TEST_CASE("what is not a state_dict") {
  CHECK(error_with(program("]")) == "runtime_error: f: the pickled object is a list, expected a dict");
  CHECK(contains(error_with(one("K\1")), "tensor \"w\": expected a tensor, found an integer"));
  CHECK(contains(error_with(one(dict({}))), "expected a tensor, found a dict (the state_dict may be"));
  CHECK(contains(error_with(program("}" + num(1) + "Ns")), "a name in the state_dict is an integer"));
  CHECK(contains(error_with(program("cos\nsystem\n" + str("ls") + "\x85R")),
                 "f: data.pkl: the pickle names \"os.system\""));
  const std::string value = rebuild(kStorage, 0, tuple({6}), tuple({1}));
  CHECK(error_with(program(dict({{str("w"), value}, {str("w"), value}}))) ==
        "runtime_error: f: tensor \"w\" appears twice");
}

TEST_CASE("malformed tensors") {
  const auto arguments = [](const std::string& list) {
    return "ctorch._utils\n_rebuild_tensor_v2\n(" + list + "tR";
  };
  const std::string shape = tuple({6}), stride = tuple({1});
  CHECK(contains(tensor_error(arguments(kStorage)), "with 1 arguments"));
  CHECK(
      contains(tensor_error("ctorch._utils\n_rebuild_parameter\n)R"), "_rebuild_parameter with 0 arguments"));
  CHECK(contains(tensor_error("ctorch\nFloatStorage\n)R"), "torch.FloatStorage with 0 arguments"));
  CHECK(contains(tensor_error(arguments("N" + num(0) + shape + stride)),
                 "first argument of the tensor is None"));
  CHECK(contains(tensor_error(arguments(kStorage + "N" + shape + stride)), "the storage offset is None"));
  CHECK(contains(tensor_error(arguments(kStorage + num(-1) + shape + stride)), "the storage offset is -1"));
  CHECK(contains(tensor_error(arguments(kStorage + num(0) + "]" + stride)), "the shape is a list"));
  CHECK(contains(tensor_error(arguments(kStorage + num(0) + tuple({-6}) + stride)), "the shape is -6"));
  CHECK(contains(tensor_error(arguments(kStorage + num(0) + shape + tuple({-1}))), "the stride is -1"));
  CHECK(contains(tensor_error(arguments(kStorage + num(0) + shape + "(\x88t")), "the stride is a bool"));
  const std::vector<std::int64_t> ones(65, 1);
  CHECK(contains(tensor_error(rebuild(kStorage, 0, tuple(ones), tuple(ones))), "has 65 numbers, at most 64"));

  const auto stored = [&](const std::string& id) { return tensor_error(rebuild(id, 0, shape, stride)); };
  CHECK(contains(stored("NQ"), "the storage is None, expected a tuple"));
  CHECK(contains(stored(str("storage") + "\x85Q"), "the storage has 1 fields, expected 5"));
  const std::string type = "ctorch\nFloatStorage\n", rest = str("0") + str("cpu");
  CHECK(contains(stored("(" + str("module") + type + rest + num(6) + "tQ"), "is not a storage"));
  CHECK(
      contains(stored("(" + str("storage") + "N" + rest + num(6) + "tQ"), "the type of the storage is None"));
  CHECK(contains(stored("(" + str("storage") + "ccollections\nOrderedDict\n" + rest + num(6) + "tQ"),
                 "the type of the storage is collections.OrderedDict"));
  CHECK(contains(stored("(" + str("storage") + type + num(0) + str("cpu") + num(6) + "tQ"),
                 "the key of the storage"));
  CHECK(contains(stored(storage("Float", "0", -6)), "the size of the storage is -6"));
  CHECK(contains(stored(storage("Float", "1", 6)), "record \"archive/data/1\" is missing"));
  CHECK(contains(stored(storage("Float", "0\0x"s, 6)), "record \"archive/data/0\\x00x\" is missing"));
  CHECK(contains(stored(storage("Float", "0", 5)),
                 "expected 5 elements of F32 in record \"archive/data/0\", found 24 bytes"));
  CHECK(contains(stored(storage("Half", "0", 6)), "expected 6 elements of F16"));
  CHECK(contains(stored(storage("Float", "0", std::int64_t{1} << 62)), "found 24 bytes"));
}

TEST_CASE("views that leave their storage") {
  constexpr std::int64_t kHuge = std::int64_t{1} << 62, kMost = INT64_MAX;
  const auto error = [](std::int64_t offset, const std::vector<std::int64_t>& shape,
                        const std::vector<std::int64_t>& stride) {
    return tensor_error(rebuild(kStorage, offset, tuple(shape), tuple(stride)));
  };
  CHECK(error(1, {6}, {1}) == "shape [6] with stride [1] at offset 1 leaves the storage of 6 elements");
  CHECK(contains(error(0, {2, 3}, {4, 1}), "leaves the storage"));
  CHECK(contains(error(6, {}, {}), "leaves the storage"));
  CHECK(contains(error(kMost, {1}, {1}), "leaves the storage"));
  CHECK(contains(error(0, {3}, {kHuge}), "leaves the storage"));
  CHECK(contains(error(0, {5}, {kHuge}), "leaves the storage"));  // 4 * 2^62 is 0 in 64 bits
  CHECK(contains(error(0, {2, 2}, {kMost, kMost}), "leaves the storage"));
  CHECK(contains(error(0, {7}, {0}), "has more elements than the storage, 6"));
  CHECK(contains(error(0, {std::int64_t{1} << 40}, {0}), "has more elements than the storage"));
  CHECK(contains(error(0, {kHuge, 4}, {0, 0}), "is too large"));
  CHECK(contains(error(0, {6}, {}), "shape [6] with stride []"));
}

TEST_CASE("small files do not become large tensors") {
  // Records: a long run of zeros, deflated.
  const std::string value = rebuild(storage("Byte", "0", 4'000'000), 0, tuple({4'000'000}), tuple({1}));
  const Records bomb = {{"a/data.pkl", one(value)}, {"a/data/0", std::string(4'000'000, '\0')}};
  const std::string packed = zip_of(bomb, true);
  CHECK(packed.size() < 10'000);
  CHECK(contains(file_error_of(packed), "unpacks to more than"));
  CHECK(file_error_of(zip_of(bomb)) == "no error");
  // Views: one storage under many names. Each name costs the pickle few bytes.
  const std::string data(100'000, '\1');
  std::string pickle = "\x80\2" + rebuild(storage("Byte", "0", 100'000), 0, tuple({100'000}), tuple({1})) +
                       "q\1" + kOrderedDict + "(";
  for (int i = 0; i < 3000; ++i) pickle += str(std::to_string(i)) + "h\1";
  pickle += "u\x86.";  // a tuple (tensor, dict): not yet a state_dict
  CHECK(contains(file_error_of(zip_of({{"a/data.pkl", pickle}, {"a/data/0", data}})), "is a tuple"));
  std::string state =
      "\x80\2}(" + str("w") + rebuild(storage("Byte", "0", 100'000), 0, tuple({100'000}), tuple({1})) + "q\1";
  for (int i = 0; i < 3000; ++i) state += str(std::to_string(i)) + "h\1";
  CHECK(contains(file_error_of(zip_of({{"a/data.pkl", state + "u."}, {"a/data/0", data}})),
                 "the tensors share storages too often"));
}

TEST_CASE("zip files that are not a state_dict of PyTorch") {
  const std::string pickle = one(rebuild(kStorage, 0, tuple({6}), tuple({1})));
  const auto error = [&](const Records& more) {
    Records records = records_of(pickle);
    records.insert(records.end(), more.begin(), more.end());
    return file_error_of(zip_of(records));
  };
  CHECK(error({{"archive/.data/serialization_id", "1"}}) == "no error");
  CHECK(contains(error({{"archive/constants.pkl", ""}}),
                 "is a TorchScript archive, not a state_dict; in PyTorch"));
  CHECK(contains(error({{"archive/code/__torch__.py", ""}}), "is a TorchScript archive"));
  CHECK(error({{"other/data.pkl", pickle}}) == "runtime_error: f: has more than one data.pkl");
  CHECK(contains(file_error_of(zip_of({{"readme.txt", "hello"}})), "without a data.pkl"));
  CHECK(contains(file_error_of(zip_of({{"a/data.pkl", pickle}, {"a/data/0", kSix}, {"a/byteorder", "big"}})),
                 "the byte order is \"big\", expected \"little\""));
  CHECK(contains(file_error_of(zip_of({{"a/data.pkl", ""}})), "f: data.pkl: malformed pickle"));
}

TEST_CASE("damaged zip files") {
  const std::string good = zip_of(records_of(one(rebuild(kStorage, 0, tuple({6}), tuple({1})))));
  std::string bad = good;
  bad[good.find(kSix) + 3] ^= 1;
  CHECK(contains(file_error_of(bad), "record \"archive/data/0\": CRC error"));
  CHECK(contains(file_error_of(good.substr(0, good.size() - 30)), "is a damaged zip file"));
  CHECK(contains(file_error_of("PK\3\4"), "is a damaged zip file"));
}

TEST_CASE("other files of PyTorch are told what they are") {
  const std::string legacy = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03."s;
  CHECK(contains(file_error_of(legacy), "is a PyTorch file in the format before version 1.6"));
  CHECK(contains(file_error_of("\x80\4N."), "is a plain pickle"));
  CHECK(file_error_of("hello") == "runtime_error: f: is not a PyTorch zip file");
  CHECK(file_error_of("") == "runtime_error: f: is not a PyTorch zip file");
}

TEST_CASE("read_tensor_file looks at the content, not at the name") {
  const TemporaryFolder folder;
  write_file(folder / "a.safetensors", zip_of(records_of(one(rebuild(kStorage, 0, tuple({6}), tuple({1}))))));
  CHECK(read_tensor_file(folder / "a.safetensors").tensors.contains("w"));
  TensorFile file;
  file.tensors["x"] = to_raw_f32(Tensor({2}));
  write_safetensors(folder / "a.pt", file);
  CHECK(read_tensor_file(folder / "a.pt").tensors.contains("x"));

  const auto error = [](const std::string& text) {
    return error_of([&] { parse_tensor_file(std::as_bytes(std::span(text)), "f"); });
  };
  const std::string neither =
      "runtime_error: f: is neither a safetensors file nor a PyTorch zip file (.pt, .pth)";
  CHECK(error("") == neither);
  CHECK(error("\x89PNG\r\n\x1a\n and so on") == neither);
  CHECK(contains(error("\x80\4N."), "is a plain pickle"));
  CHECK(contains(error("\x40\0\0\0\0\0\0\0{\"a\":"s), "a header of 64 bytes, but only 5 follow"));
}

TEST_CASE("a safetensors header whose length spells PK is not a zip file") {
  const TemporaryFolder folder;
  TensorFile file;
  file.tensors["x"] = to_raw_f32(Tensor({2}));
  write_safetensors(folder / "f", file);
  const std::size_t header = read_file(folder / "f").size() - 16;
  file.metadata["k"] = std::string(19280 - header - std::strlen(R"("__metadata__":{"k":""},)"), ' ');
  write_safetensors(folder / "f", file);
  const auto bytes = read_file(folder / "f");
  REQUIRE(std::memcmp(bytes.data(), "PK\0\0", 4) == 0);
  CHECK(read_tensor_file(folder / "f").tensors.size() == 1);
}

TEST_CASE("mutated PyTorch files either load or say why not") {
  const std::string pickle = program(
      "}" + str("state_dict") + dict({{str("w"), rebuild(kStorage, 0, tuple({3, 2}), tuple({1, 3}))}}) + "s");
  const std::string good = zip_of(records_of(pickle));
  CHECK(file_error_of(good) == "no error");
  Attempts attempts;
  const auto attempt = [&](const std::string& file) { attempts.count([&] { parse(file); }); };
  for (std::size_t i = 0; i < good.size(); ++i) {
    attempt(good.substr(0, i));
    for (const int flip : {1, 16, 128, 255}) {
      std::string bad = good;
      bad[i] = char(bad[i] ^ flip);
      attempt(bad);
    }
  }
  // The CRC hides the pickle from changes to the file: these change it before it is packed.
  for (std::size_t i = 0; i < pickle.size(); ++i)
    for (const int flip : {1, 2, 4, 16, 128, 255}) {
      std::string bad = pickle;
      bad[i] = char(bad[i] ^ flip);
      attempt(zip_of(records_of(bad)));
    }
  for (std::uint64_t n = 0; n < 1000; ++n) {
    std::string bad = pickle;
    for (std::uint64_t k = 0; k < 3; ++k)
      bad[random_below(9, 8 * n + 2 * k, std::uint32_t(bad.size()))] =
          pickle[random_below(9, 8 * n + 2 * k + 1, std::uint32_t(pickle.size()))];
    attempt(zip_of(records_of(bad)));
  }
  CHECK(attempts.loaded > 100);
  CHECK(attempts.refused > 1000);
}

TEST_CASE("a real PyTorch file") {
  const auto path = shared_path("models/ucm21_mobilevit_xxs.pt");
  if (!path) return;
  const TensorFile file = read_tensor_file(*path);
  CHECK(file.tensors.size() == 311);
  const auto count = [&](DType dtype) {
    return std::count_if(file.tensors.begin(), file.tensors.end(),
                         [&](const auto& item) { return item.second.dtype == dtype; });
  };
  CHECK(count(DType::kF32) == 279);
  CHECK(count(DType::kI64) == 32);  // num_batches_tracked

  // Values as Python's struct module reads them.
  const auto values = [&](const std::string& name) { return to_real(file.tensors.at(name), name); };
  const Tensor conv = values("conv_1.block.conv.weight");
  CHECK(conv.shape() == Shape{16, 3, 3, 3});
  CHECK(conv[0] == real(-0.05802703648805618f));
  CHECK(conv[431] == real(-0.18554028868675232f));
  const Tensor qkv = values("layer_3.1.global_rep.0.pre_norm_mha.1.qkv_proj.weight");
  CHECK(qkv.shape() == Shape{192, 64});
  CHECK(qkv[20] == real(0.5946506857872009f));
  CHECK(values("classifier.fc.bias")[0] == real(0.0022707064636051655f));
  const RawTensor& tracked = file.tensors.at("conv_1.block.norm.num_batches_tracked");
  CHECK(tracked.shape == Shape{});
  CHECK(std::to_integer<int>(tracked.bytes[0]) == (250754 & 0xff));
}
