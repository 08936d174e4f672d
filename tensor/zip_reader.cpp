#include "tensor/zip_reader.h"

#include <zip.h>

#include "tensor/check.h"
#include "tensor/untrusted.h"

namespace qhv {
namespace {

struct CloseRecord {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using RecordHandle = std::unique_ptr<zip_file_t, CloseRecord>;

}  // namespace

std::uint64_t unpack_limit(std::uint64_t archive_size) {
  constexpr std::uint64_t kMost = std::uint64_t{4} << 30, kRatio = 100;
  return archive_size > kMost / kRatio ? kMost : archive_size * kRatio;
}

void ZipReader::Discard::operator()(zip* archive) const { zip_discard(archive); }

ZipReader::ZipReader(std::span<const std::byte> bytes, std::string path) : path_(std::move(path)) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  if (source) archive_.reset(zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error));
  const std::string reason = zip_error_strerror(&error);
  zip_error_fini(&error);
  if (!archive_) {
    zip_source_free(source);
    file_error(path_, "is a damaged zip file (", reason, ")");
  }

  std::uint64_t left = unpack_limit(bytes.size());
  const auto count = std::uint64_t(zip_get_num_entries(archive_.get(), 0));
  for (std::uint64_t i = 0; i < count; ++i) {
    zip_stat_t info;
    if (zip_stat_index(archive_.get(), i, 0, &info) != 0)
      file_error(path_, "record ", i, " of the zip file is damaged (", zip_strerror(archive_.get()), ")");
    if (!(info.valid & ZIP_STAT_NAME) || !(info.valid & ZIP_STAT_SIZE))
      file_error(path_, "record ", i, " of the zip file has no name or no size");
    const std::string name = info.name;
    if (info.size > left)
      file_error(path_, "unpacks to more than ", unpack_limit(bytes.size()), " bytes (record ",
                 in_quotes(name), " alone to ", info.size, ")");
    left -= info.size;
    if (name.ends_with('/')) continue;
    if (!records_.emplace(name, Record{i, info.size}).second)
      file_error(path_, "has two records named ", in_quotes(name));
  }
}

std::vector<std::byte> ZipReader::read(const std::string& name) const {
  const auto [index, size] = records_.at(name);
  const RecordHandle file(zip_fopen_index(archive_.get(), index, 0));
  if (!file) file_error(path_, "record ", in_quotes(name), ": ", zip_strerror(archive_.get()));

  std::vector<std::byte> bytes(size);
  const auto read = [&](std::byte* dst, std::uint64_t want) {
    const std::int64_t got = zip_fread(file.get(), dst, want);
    if (got < 0) file_error(path_, "record ", in_quotes(name), ": ", zip_file_strerror(file.get()));
    return std::uint64_t(got);
  };
  for (std::uint64_t at = 0; at < size;) {
    const std::uint64_t got = read(bytes.data() + at, size - at);
    if (got == 0) file_error(path_, "record ", in_quotes(name), ": ended after ", at, " bytes of ", size);
    at += got;
  }
  // libzip compares the CRC only when asked for a byte beyond the last.
  std::byte beyond;
  if (read(&beyond, 1) != 0) file_error(path_, "record ", in_quotes(name), ": more bytes than ", size);
  return bytes;
}

}  // namespace qhv
