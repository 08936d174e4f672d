#include "tensor/file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <unistd.h>

#include "tensor/check.h"

namespace qhv {
namespace {

std::string temporary_name(const std::string& path) { return concat(path, ".tmp-", ::getpid()); }

FileHandle open_for_writing(const std::string& temporary, const std::string& path) {
  FileHandle file(std::fopen(temporary.c_str(), "wb"));
  if (!file) file_error(path, "cannot be written (", std::strerror(errno), ")");
  return file;
}

}  // namespace

InputFile::InputFile(const std::string& path, std::uint64_t limit) : path_(path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (error) file_error(path, "cannot be read (", error.message(), ")");
  if (std::filesystem::is_directory(status)) file_error(path, "is a folder, not a file");
  if (!std::filesystem::is_regular_file(status)) file_error(path, "is not a regular file");
  size_ = std::filesystem::file_size(path);
  if (size_ > limit) file_error(path, "has ", size_, " bytes, more than the limit of ", limit);
  file_.reset(std::fopen(path.c_str(), "rb"));
  if (!file_) file_error(path, "cannot be read (", std::strerror(errno), ")");
}

void InputFile::read(std::span<std::byte> dst) {
  if (!dst.empty() && std::fread(dst.data(), 1, dst.size(), file_.get()) != dst.size())
    file_error(path_, "ended early");
}

std::vector<std::byte> read_file(const std::string& path, std::uint64_t limit) {
  InputFile file(path, limit);
  std::vector<std::byte> bytes(file.size());
  file.read(bytes);
  return bytes;
}

void write_file(const std::string& path, std::span<const std::span<const std::byte>> parts) {
  const std::string temporary = temporary_name(path);
  const auto give_up = [&](int reason) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    file_error(path, "cannot be written (", std::strerror(reason), ")");
  };

  FileHandle file = open_for_writing(temporary, path);
  for (const auto part : parts)
    if (!part.empty() && std::fwrite(part.data(), 1, part.size(), file.get()) != part.size()) give_up(errno);
  if (std::fflush(file.get()) != 0 || ::fsync(::fileno(file.get())) != 0) give_up(errno);
  if (std::fclose(file.release()) != 0) give_up(errno);
  if (std::rename(temporary.c_str(), path.c_str()) != 0) give_up(errno);
}

void require_writable(const std::string& path) {
  if (std::filesystem::is_directory(path)) file_error(path, "cannot be written (it is a folder)");
  const std::string temporary = temporary_name(path);
  open_for_writing(temporary, path).reset();
  std::filesystem::remove(temporary);
}

void write_file(const std::string& path, std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  const std::span<const std::byte> parts[] = {bytes};
  write_file(path, parts);
}

}  // namespace qhv
