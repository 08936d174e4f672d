// A zip archive in memory, for reading: names, sizes and contents of its records. The only user of libzip.
//
// Opening checks the archive's tables against each other, and the sizes that they promise against the size
// of the file (unpack_limit); reading a record checks its CRC. So what is allocated is bounded by the file.
//
// Errors: std::runtime_error with the path, the record's name and libzip's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

struct zip;

namespace qhv {

/// How much an archive of this size may unpack to: 100 times as much (weights hardly compress at all, and
/// PyTorch does not try), at most 4 GiB.
std::uint64_t unpack_limit(std::uint64_t archive_size);

class ZipReader {
 public:
  struct Record {
    std::uint64_t index, size;  // size: unpacked
  };

  /// `bytes` must outlive the reader.
  ZipReader(std::span<const std::byte> bytes, std::string path);

  /// By name; folders are not listed.
  const std::map<std::string, Record>& records() const { return records_; }
  /// The unpacked bytes of an existing record.
  std::vector<std::byte> read(const std::string& name) const;

 private:
  struct Discard {
    void operator()(zip* archive) const;
  };

  std::string path_;
  std::unique_ptr<zip, Discard> archive_;
  std::map<std::string, Record> records_;
};

}  // namespace qhv
