// JSON that somebody else wrote. The parser goes any number of levels down, but copying a value and writing
// it as text recurse, so the levels are bounded while it is read. Conversions of the library itself take 1.5
// or 2^40 for an int; these do not.
//
// Errors are std::runtime_error of one short line, which repeats nothing of the text.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/check.h"

namespace qhv {

/// `check` sees everything that is read, as nlohmann's callbacks do. `what` ("the header") opens the message
/// behind the path.
nlohmann::json parse_untrusted_json(std::string_view text, const std::string& path, const char* what,
                                    const nlohmann::json::parser_callback_t& check);

/// With at most so many objects and lists inside of each other.
nlohmann::json parse_untrusted_json(std::string_view text, const std::string& path, const char* what,
                                    int most_levels);

/// A whole number that an Int holds. `where` ("path: layer") and the name of the field open the message.
template <typename Int>
Int whole_number(const nlohmann::json& value, const std::string& where, const char* field) {
  using Limits = std::numeric_limits<Int>;
  const bool fits = value.is_number_unsigned()
                        ? std::in_range<Int>(value.get<std::uint64_t>())
                        : value.is_number_integer() && std::in_range<Int>(value.get<std::int64_t>());
  if (!fits) file_error(where, field, " is no whole number from ", Limits::min(), " to ", Limits::max());
  return value.get<Int>();
}

template <typename Int>
std::vector<Int> whole_numbers(const nlohmann::json& list, const std::string& where, const char* field) {
  if (!list.is_array()) file_error(where, field, " is not a list");
  std::vector<Int> numbers;
  for (const nlohmann::json& item : list) numbers.push_back(whole_number<Int>(item, where, field));
  return numbers;
}

}  // namespace qhv
