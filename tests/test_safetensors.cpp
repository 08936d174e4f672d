// safetensors files, good and bad. The bad ones are good ones with one thing changed.
#include <cstring>
#include <doctest/doctest.h>
#include <filesystem>
#include <stdexcept>

#include "tensor/bytes.h"
#include "tensor/file.h"
#include "tensor/rng.h"
#include "tensor/safetensors.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

std::string file_of(const std::string& header, const std::string& data, std::uint64_t length) {
  std::byte prefix[8];
  store_le(prefix, length);
  return std::string(reinterpret_cast<const char*>(prefix), 8) + header + data;
}
std::string file_of(const std::string& header, std::size_t data_size) {
  return file_of(header, std::string(data_size, '\1'), header.size());
}

TensorFile parse(const std::string& file) { return parse_safetensors(std::as_bytes(std::span(file)), "f"); }
std::string parse_error(const std::string& file) {
  return error_of([&] { parse(file); });
}
/// The error of a header that stands before eight bytes of data.
std::string header_error(const std::string& header) { return parse_error(file_of(header, 8)); }
/// The error of a file with one tensor "a", its entry as given.
std::string entry_error(const std::string& entry) { return header_error("{\"a\":" + entry + "}"); }

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TensorFile example() {
  TensorFile file;
  file.tensors["conv.weight"] = to_raw_f32(random_tensor({2, 1, 3}, 1));
  file.tensors["conv.steps"] = {DType::kI64, {}, std::vector<std::byte>(8, std::byte{3})};
  file.tensors["a quoted \"name\""] = to_raw_codes(TensorI32({3}, -5), -127, 127);
  file.tensors["empty"] = {DType::kF16, {0, 4}, {}};
  file.metadata = {{"arch", "tiny"}, {"note", "two\nlines"}};
  return file;
}

}  // namespace

TEST_CASE("a safetensors file by hand") {
  const std::string header =
      R"({"__metadata__":{"k":"v"},"b":{"dtype":"I8","shape":[2],"data_offsets":[4,6]},)"
      R"("a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}} )";
  const TensorFile file = parse(file_of(header, std::string("\0\0\xc0\x3f\x05\xff", 6), header.size()));
  CHECK(file.metadata == std::map<std::string, std::string>{{"k", "v"}});
  REQUIRE(file.tensors.size() == 2);
  const Tensor a = to_real(file.tensors.at("a"), "a");
  CHECK(a.shape() == Shape{1, 1});
  CHECK(a[0] == real(1.5));
  CHECK(to_codes(file.tensors.at("b"), "b")[1] == -1);
}

TEST_CASE("an empty safetensors file") {
  CHECK(parse(file_of("{}", 0)).tensors.empty());
  CHECK(parse(file_of("{\"__metadata__\":{}}", 0)).metadata.empty());
}

TEST_CASE("every element type") {
  const std::pair<const char*, int> types[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8},
                                               {"I32", 4}, {"I16", 2}, {"I8", 1},  {"U8", 1},   {"BOOL", 1}};
  for (const auto& [name, size] : types) {
    const std::string header =
        concat(R"({"a":{"dtype":")", name, R"(","shape":[3],"data_offsets":[0,)", 3 * size, "]}}");
    const RawTensor raw = parse(file_of(header, std::size_t(3 * size))).tensors.at("a");
    CHECK(std::string(dtype_name(raw.dtype)) == name);
    CHECK(raw.bytes.size() == std::size_t(3 * size));
  }
}

TEST_CASE("what is written is read again, and written again to the same bytes") {
  const TemporaryFolder folder;
  const TensorFile file = example();
  write_safetensors(folder / "one", file);
  const TensorFile again = read_safetensors(folder / "one");
  CHECK(again.metadata == file.metadata);
  REQUIRE(again.tensors.size() == file.tensors.size());
  for (const auto& [name, raw] : file.tensors) {
    const RawTensor& other = again.tensors.at(name);
    CHECK(other.dtype == raw.dtype);
    CHECK(other.shape == raw.shape);
    CHECK(other.bytes == raw.bytes);
  }
  write_safetensors(folder / "two", again);
  const std::string bytes = text_of(read_file(folder / "one"));
  CHECK(bytes == text_of(read_file(folder / "two")));

  CHECK(bytes.substr(8, 17) == R"({"__metadata__":{)");
  // 8-byte elements first, then 4, 2 and 1.
  std::size_t at = 0;
  for (const char* name : {"conv.steps", "conv.weight", "empty", "a quoted"}) {
    CAPTURE(name);
    const std::size_t found = bytes.find(name);
    REQUIRE(found != bytes.npos);
    CHECK(found > at);
    at = found;
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);  // no temporary file
}

TEST_CASE("the header is padded to 8 bytes, whatever its length") {
  const TemporaryFolder folder;
  for (std::size_t n = 1; n <= 8; ++n) {
    write_safetensors(folder / "f", {{{std::string(n, 'x'), to_raw_f32(Tensor({1}))}}, {}});
    const auto bytes = read_file(folder / "f");
    CHECK(load_le<std::uint64_t>(bytes.data()) % 8 == 0);
    CHECK(read_safetensors(folder / "f").tensors.size() == 1);
  }
}

TEST_CASE("what cannot be written is the caller's fault") {
  const TemporaryFolder folder;
  const auto write_error = [&](const std::string& name, const RawTensor& raw) {
    return error_of([&] { write_safetensors(folder / "f", {{{name, raw}}, {}}); });
  };
  CHECK(write_error("a", {DType::kF32, {2}, std::vector<std::byte>(4)}) ==
        "invalid_argument: [write_safetensors] \"a\": 4 bytes for F32 [2]");
  CHECK(write_error("__metadata__", {DType::kI8, {0}, {}}).find("cannot be called") != std::string::npos);
  CHECK(write_error("\xff", {DType::kI8, {0}, {}}).find("not valid UTF-8") != std::string::npos);
  CHECK(write_error("a", {DType::kI8, Shape(65, 1), std::vector<std::byte>(1)}).find("too many extents") !=
        std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "f"));
}

TEST_CASE("bad lengths") {
  CHECK(parse_error("1234567") ==
        "runtime_error: f: is not a safetensors file: 7 bytes, too short for a header");
  CHECK(parse_error(file_of("{}", "", 3)) == "runtime_error: f: a header of 3 bytes, but only 2 follow");
  CHECK(parse_error(file_of("{}", "", 100'000'001)).find("at most 100000000") != std::string::npos);
  CHECK(parse_error(file_of("{}", "", ~std::uint64_t{0})).find("at most 100000000") != std::string::npos);
}

TEST_CASE("bad headers") {
  CHECK(header_error("{\"\xff\":1}") == "runtime_error: f: the header is not valid UTF-8");
  CHECK(header_error("{\"a\":") == "runtime_error: f: the header is not valid JSON (at byte 6 of 5)");
  CHECK(header_error("{} {}").find("not valid JSON") != std::string::npos);
  CHECK(header_error("{\"a\":1e999}") ==
        "runtime_error: f: the header is not valid JSON (a number is out of range)");
  for (const char* no_object : {"", "[]", "null", "1", " {}", "\"a\""})
    CHECK(header_error(no_object) == "runtime_error: f: the header is not a JSON object");
  CHECK(header_error("{\"a\":{\"b\":{}}}") == "runtime_error: f: the header is nested too deeply");
  CHECK(header_error("{\"a\":" + std::string(1'000'000, '[')) ==
        "runtime_error: f: the header is nested too deeply");
  const std::string empty = R"({"dtype":"I8","shape":[0],"data_offsets":[0,0]})";
  CHECK(header_error("{\"a\":" + empty + ",\"a\":" + empty + "}") ==
        "runtime_error: f: tensor \"a\" appears twice");
  CHECK(header_error(R"({"__metadata__":{},"__metadata__":{}})") ==
        "runtime_error: f: tensor \"__metadata__\" appears twice");
  CHECK(entry_error(R"({"dtype":"I8","dtype":"U8"})") ==
        "runtime_error: f: a tensor's field \"dtype\" appears twice");
}

TEST_CASE("bad metadata") {
  CHECK(header_error(R"({"__metadata__":[]})") == "runtime_error: f: __metadata__ is not an object");
  CHECK(header_error(R"({"__metadata__":{"k":1}})") ==
        "runtime_error: f: __metadata__: the value of \"k\" is not a string");
  CHECK(header_error(R"({"__metadata__":{"k":"1","k":"2"}})").find("\"k\" appears twice") !=
        std::string::npos);
}

TEST_CASE("bad entries") {
  const std::pair<const char*, const char*> cases[] = {
      {"7", "its entry is not an object"},
      {R"({"shape":[8],"data_offsets":[0,8]})", "dtype is missing"},
      {R"({"dtype":"I8","data_offsets":[0,8]})", "shape is missing"},
      {R"({"dtype":"I8","shape":[8]})", "data_offsets is missing"},
      {R"({"dtype":8,"shape":[8],"data_offsets":[0,8]})", "dtype is not a string"},
      {R"({"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]})", "dtype \"F8_E4M3\" is not supported"},
      {R"({"dtype":"I8","shape":8,"data_offsets":[0,8]})", "shape is not a list"},
      {R"({"dtype":"I8","shape":[8.0],"data_offsets":[0,8]})", "shape holds something other"},
      {R"({"dtype":"I8","shape":["8"],"data_offsets":[0,8]})", "shape holds something other"},
      {R"({"dtype":"I8","shape":[-8],"data_offsets":[0,8]})", "shape holds something other"},
      {R"({"dtype":"I8","shape":[9223372036854775808],"data_offsets":[0,8]})", "shape holds something other"},
      {R"({"dtype":"I8","shape":[99999999999999999999],"data_offsets":[0,8]})",
       "shape holds something other"},
      {R"({"dtype":"I8","shape":[4611686018427387904,4],"data_offsets":[0,8]})", "is too large"},
      {R"({"dtype":"F64","shape":[2305843009213693953],"data_offsets":[0,8]})", "is too large"},
      {R"({"dtype":"I8","shape":[8],"data_offsets":8})", "data_offsets is not a list"},
      {R"({"dtype":"I8","shape":[8],"data_offsets":[0]})", "1 data_offsets, expected 2"},
      {R"({"dtype":"I8","shape":[8],"data_offsets":[0,8,8]})", "3 data_offsets, expected 2"},
      {R"({"dtype":"I8","shape":[8],"data_offsets":[-1,8]})", "data_offsets holds something other"},
      {R"({"dtype":"I8","shape":[8],"data_offsets":[8,0]})", "data_offsets are reversed: 8 to 0"},
      {R"({"dtype":"I8","shape":[9],"data_offsets":[0,9]})", "ends at byte 9 of the data, which has only 8"},
      {R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})", "expected 4 bytes for F32 [1], found 8"},
  };
  for (const auto& [entry, words] : cases) {
    CAPTURE(entry);
    const std::string error = entry_error(entry);
    CHECK_MESSAGE(error.starts_with("runtime_error: f: tensor \"a\": "), error);
    CHECK_MESSAGE(error.find(words) != std::string::npos, error);
  }
  std::string rank65 = "1";
  for (int i = 1; i < 65; ++i) rank65 += ",1";
  CHECK(entry_error(R"({"dtype":"I8","shape":[)" + rank65 + R"(],"data_offsets":[0,1]})") ==
        "runtime_error: f: tensor \"a\": 65 extents, at most 64");
}

TEST_CASE("the tensors cover the data exactly") {
  const auto error = [](const char* a, const char* b, std::size_t data_size) {
    const auto entry = [](const char* offsets, int size) {
      return concat(R"({"dtype":"I8","shape":[)", size, R"(],"data_offsets":)", offsets, "}");
    };
    return parse_error(file_of("{\"a\":" + entry(a, 4) + ",\"b\":" + entry(b, 4) + "}", data_size));
  };
  CHECK(error("[0,4]", "[4,8]", 8) == "no error");
  CHECK(error("[4,8]", "[0,4]", 8) == "no error");
  CHECK(error("[0,4]", "[3,7]", 7) ==
        "runtime_error: f: tensor \"b\": begins at byte 3 and overlaps another, which ends at 4");
  CHECK(error("[0,4]", "[0,4]", 4).find("overlaps") != std::string::npos);
  CHECK(error("[0,4]", "[5,9]", 9) ==
        "runtime_error: f: tensor \"b\": begins at byte 5 after a hole, expected 4");
  CHECK(error("[1,5]", "[5,9]", 9).find("tensor \"a\": begins at byte 1 after a hole") != std::string::npos);
  CHECK(error("[0,4]", "[4,8]", 11) == "runtime_error: f: 3 bytes after the last tensor");
}

TEST_CASE("names from the file do not break the message") {
  const std::string error = header_error("{\"a\\n" + std::string(5000, 'x') + "\":7}");
  CHECK(error.find('\n') == error.npos);
  CHECK(error.size() < 250);
}

TEST_CASE("missing files and folders") {
  const TemporaryFolder folder;
  const std::string path = folder / "absent";
  CHECK(error_of([&] { read_safetensors(path); }).starts_with("runtime_error: " + path));
  CHECK(error_of([&] { read_safetensors(folder.path()); }).find("is a folder") != std::string::npos);
}

TEST_CASE("mutated safetensors files either load or say why not") {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", example());
  const std::string good = text_of(read_file(folder / "f"));
  Attempts attempts;
  const auto attempt = [&](const std::string& file) { attempts.count([&] { parse(file); }); };
  for (std::size_t i = 0; i < good.size(); ++i) {
    attempt(good.substr(0, i));
    for (const int flip : {1, 2, 16, 64, 128, 255}) {
      std::string bad = good;
      bad[i] = char(bad[i] ^ flip);
      attempt(bad);
    }
  }
  for (std::uint64_t n = 0; n < 3000; ++n) {
    std::string bad = good;
    for (std::uint64_t k = 0; k < 4; ++k)
      bad[random_below(7, 8 * n + 2 * k, std::uint32_t(bad.size()))] =
          char(random_bits(7, 8 * n + 2 * k + 1));
    attempt(bad);
  }
  CHECK(attempts.loaded > 100);    // changes in the data
  CHECK(attempts.refused > 1000);  // and in the header
}

TEST_CASE("a real safetensors file") {
  const auto path = shared_path("models/photo121_mobilevit_xxs.safetensors");
  if (!path) return;
  const TensorFile file = read_safetensors(*path);
  CHECK(file.tensors.size() == 279);
  CHECK(file.metadata.at("arch") == "mobilevit_xxs");
  const RawTensor& stem = file.tensors.at("stem.conv.weight");
  CHECK(stem.dtype == DType::kF16);
  CHECK(stem.shape == Shape{16, 3, 3, 3});
  // Values as Python's struct module reads them.
  const Tensor weight = to_real(stem, "stem"), bias = to_real(file.tensors.at("head.fc.bias"), "bias");
  CHECK(weight[0] == real(-0.1439208984375));
  CHECK(weight[5] == real(0.0240020751953125));
  CHECK(bias[1] == real(0.032868385314941406));

  const TemporaryFolder folder;
  write_safetensors(folder / "copy", file);
  const TensorFile copy = read_safetensors(folder / "copy");
  for (const auto& [name, raw] : file.tensors) CHECK(copy.tensors.at(name).bytes == raw.bytes);
}
