#include "tests/torch_files.h"

#include <bit>
#include <stdexcept>
#include <zip.h>

namespace qhv::test {

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += char(value >> (8 * i) & 0xff);
  return text;
}
std::string str(const std::string& text) { return "X" + little_endian(text.size(), 4) + text; }
std::string num(std::int64_t value) { return "\x8a\x08" + little_endian(std::uint64_t(value), 8); }
std::string tuple(const std::vector<std::int64_t>& values) {
  std::string text = "(";
  for (const std::int64_t value : values) text += num(value);
  return text + "t";
}
std::string storage(const std::string& type, const std::string& key, std::int64_t count) {
  return "(" + str("storage") + "ctorch\n" + type + "Storage\n" + str(key) + str("cpu") + num(count) + "tQ";
}
std::string rebuild(const std::string& storage, std::int64_t offset, const std::string& shape,
                    const std::string& stride) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + num(offset) + shape + stride + "\x89" +
         kOrderedDict + "tR";
}
std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string text = kOrderedDict + "(";
  for (const auto& [key, value] : items) text += key + value;
  return text + "u";
}
std::string program(const std::string& value) { return "\x80\2" + value + "."; }

std::string one(const std::string& value) { return program(dict({{str("w"), value}})); }

std::string bytes_of(const std::vector<float>& values) {
  std::string text;
  for (const float value : values) text += little_endian(std::bit_cast<std::uint32_t>(value), 4);
  return text;
}

std::string zip_of(const Records& records, bool deflate) {
  zip_source_t* memory = zip_source_buffer_create(nullptr, 0, 0, nullptr);
  zip_source_keep(memory);
  zip_t* archive = zip_open_from_source(memory, ZIP_TRUNCATE, nullptr);
  for (const auto& [name, text] : records) {
    zip_source_t* source = zip_source_buffer(archive, text.data(), text.size(), 0);
    const zip_int64_t index = zip_file_add(archive, name.c_str(), source, ZIP_FL_ENC_UTF_8);
    zip_set_file_compression(archive, zip_uint64_t(index), deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
    zip_file_set_dostime(archive, zip_uint64_t(index), 0, 0x21, 0);
  }
  if (zip_close(archive) != 0) throw std::runtime_error("the zip file could not be made");
  zip_source_open(memory);
  zip_source_seek(memory, 0, SEEK_END);
  std::string file(std::size_t(zip_source_tell(memory)), '\0');
  zip_source_seek(memory, 0, SEEK_SET);
  zip_source_read(memory, file.data(), file.size());
  zip_source_close(memory);
  zip_source_free(memory);
  return file;
}

}  // namespace qhv::test
