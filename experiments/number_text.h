// Numbers for files that machines read: the same text in every locale, unlike printf and streams.
#pragma once

#include <charconv>
#include <string>

namespace qhv {

/// The shortest digits that read back as the same number.
inline std::string number_text(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

}  // namespace qhv
