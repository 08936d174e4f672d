// Reads Python's pickle format as data. A pickle is a program for a small stack machine, and Python's own
// reader calls any function that the program names. This one calls nothing: a call becomes a value
// PickleCall{function, arguments} for the caller to interpret, and only the functions that the caller
// allows may be named at all.
//
// Values live in one append-only vector and refer to each other by index; lists and dicts may contain
// themselves, so whoever walks them must bound the depth. Supported are the opcodes that torch.save writes
// for a state_dict (protocols 2 to 5). Time is n log n and memory linear in the size, which is bounded.
//
// Errors: std::runtime_error, naming the opcode or the function, and its byte.
// Source: the comments of Lib/pickletools.py in CPython, which describe every opcode.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace qhv {

struct PickleNone {};
struct PickleTuple {
  std::vector<int> items;
};
struct PickleList {
  std::vector<int> items;
};
/// Also an OrderedDict. Keys and values in the order of insertion; a key may occur twice.
struct PickleDict {
  std::vector<std::pair<int, int>> items;
};
/// A function or class, "module.name": one of those that the caller allowed.
struct PickleGlobal {
  std::string_view name;
};
struct PickleCall {
  int function, arguments;
};
/// Something stored outside of the pickle; `id` is the value that says where.
struct PicklePersistent {
  int id;
};

/// Strings are well-formed UTF-8.
using PickleValue = std::variant<PickleNone, bool, std::int64_t, double, std::string, PickleTuple, PickleList,
                                 PickleDict, PickleGlobal, PickleCall, PicklePersistent>;

struct Pickle {
  std::vector<PickleValue> values;
  int root = 0;
};

/// "a tuple", "a dict", ...
const char* kind_name(const PickleValue& value);

/// `where` opens the error messages. collections.OrderedDict may always be named: called without arguments,
/// it is an empty dict (and the attributes that BUILD gives it are dropped). `allowed` must outlive the
/// result.
Pickle parse_pickle(std::span<const std::byte> bytes, std::span<const std::string_view> allowed,
                    const std::string& where);

}  // namespace qhv
