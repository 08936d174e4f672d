// What the readers of untrusted files share: sizes that cannot overflow, and texts that are safe to print.
//
// A reader asks byte_count() before it allocates or compares, because a shape in a file is just numbers that
// somebody wrote. Names from a file reach an error message only through in_quotes(), which keeps the message
// on one line, of bounded length and free of terminal control sequences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tensor/tensor_file.h"

namespace qhv {

/// Most extents that a tensor in a file may have (PyTorch's own limit).
inline constexpr std::size_t kMaxRank = 64;

/// Bytes of a tensor; nothing if an extent is negative or the product is beyond 2^62. Never more permissive
/// than element_count(), which may therefore be called once this has succeeded.
std::optional<std::uint64_t> byte_count(DType dtype, const Shape& shape);

/// Whether `text` is well-formed UTF-8 (no overlong forms, no surrogates). Names that are not could be read
/// but never written again as JSON.
bool is_utf8(std::string_view text);

/// `text` in double quotes; bytes that are not printable become \xNN, and after 100 bytes it is cut ("...").
/// (Under the name quoted, a call with a std::string would silently find std::quoted.)
std::string in_quotes(std::string_view text);

}  // namespace qhv
