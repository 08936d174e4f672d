// PyTorch files that tests put together themselves: opcodes of the pickle format, as text, and the zip around
// them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace qhv::test {

std::string little_endian(std::uint64_t value, int bytes);

/// A string, an integer, a tuple of integers.
std::string str(const std::string& text);
std::string num(std::int64_t value);
std::string tuple(const std::vector<std::int64_t>& values);

/// The storage of `count` elements of a type ("Float") in record `key`; a tensor that looks into one.
std::string storage(const std::string& type, const std::string& key, std::int64_t count);
std::string rebuild(const std::string& storage, std::int64_t offset, const std::string& shape,
                    const std::string& stride);

/// An empty ordered dict, and one of names and values that are opcodes already.
inline const std::string kOrderedDict = "ccollections\nOrderedDict\n)R";
std::string dict(const std::vector<std::pair<std::string, std::string>>& items);

/// A whole pickle that leaves this value; the pickle of a state_dict {"w": value}.
std::string program(const std::string& value);
std::string one(const std::string& value);

std::string bytes_of(const std::vector<float>& values);

/// Names and contents of a zip file's records, and the file.
using Records = std::vector<std::pair<std::string, std::string>>;
std::string zip_of(const Records& records, bool deflate = false);

}  // namespace qhv::test
