// Errors, all made here. Two kinds leave the library, each with its own type:
//
//   require(...)     the caller's fault (shape, index, option): std::invalid_argument, "[op] what was wrong"
//   file_error(...)  the outside world (files, images): std::runtime_error, "path: what was wrong"
//
// A bug of the library itself is an assert. The library never prints and never exits.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace qhv {

/// The parts written one after the other, as << would.
template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

[[noreturn]] inline void fail(std::string_view op, const std::string& what) {
  throw std::invalid_argument(concat('[', op, "] ", what));
}

/// Throws std::invalid_argument unless `ok`. The message is only built when it is needed.
template <typename... Parts>
void require(bool ok, std::string_view op, const Parts&... parts) {
  if (!ok) [[unlikely]]
    fail(op, concat(parts...));
}

template <typename... Parts>
[[noreturn]] void file_error(const std::string& path, const Parts&... parts) {
  throw std::runtime_error(concat(path, ": ", parts...));
}

}  // namespace qhv
