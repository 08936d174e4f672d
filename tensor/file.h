// Files in and out. Reading checks the size before it allocates; writing goes to a temporary name in
// the same folder that is renamed at the end, so that a reader sees the old file or the whole new one, never
// a half.
//
// Errors: std::runtime_error with the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qhv {

inline constexpr std::uint64_t kMaxFile = std::uint64_t{1} << 32;

struct CloseFile {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using FileHandle = std::unique_ptr<std::FILE, CloseFile>;

/// A regular file of at most `limit` bytes, read from its beginning on.
class InputFile {
 public:
  explicit InputFile(const std::string& path, std::uint64_t limit = kMaxFile);
  std::uint64_t size() const { return size_; }
  /// The next dst.size() bytes.
  void read(std::span<std::byte> dst);

 private:
  std::string path_;
  std::uint64_t size_ = 0;
  FileHandle file_;
};

/// All bytes of such a file.
std::vector<std::byte> read_file(const std::string& path, std::uint64_t limit = kMaxFile);

/// Replaces `path` by `parts`, written one after the other.
void write_file(const std::string& path, std::span<const std::span<const std::byte>> parts);
void write_file(const std::string& path, std::string_view text);

/// Throws unless write_file could write there now: to be told before long work, not after it.
void require_writable(const std::string& path);

}  // namespace qhv
