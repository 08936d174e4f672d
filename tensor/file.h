// Whole files in and out. Reading checks the size before it allocates; writing goes to a temporary name in
// the same folder that is renamed at the end, so that a reader sees the old file or the whole new one, never
// a half.
//
// Errors: std::runtime_error with the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qhv {

/// The bytes of a regular file of at most `limit` bytes.
std::vector<std::byte> read_file(const std::string& path, std::uint64_t limit = std::uint64_t{1} << 32);

/// Replaces `path` by `parts`, written one after the other.
void write_file(const std::string& path, std::span<const std::span<const std::byte>> parts);
void write_file(const std::string& path, std::string_view text);

/// Throws unless write_file could write there now: to be told before long work, not after it.
void require_writable(const std::string& path);

}  // namespace qhv
