// The rows of a comparison of quantisation methods: a CSV file for machines and for resuming. What people
// read of it is in table_report.h.
//
//   model,arch,engine,method,wbits,abits,scope,seed,top1,top5,agreement,fp32_top1,bytes,latency_ms,seconds,
//   settings
//
// scope is "partial" or "full" (quant/plan.h); seed drew the calibration images. A model by itself is the row
// of method "float32" with 32 bits, scope partial, seed 0, quantised in 0 seconds. top* are fractions;
// agreement is the share of images whose best class is the float model's; bytes the size of the model's file,
// latency_ms the median time of a forward pass of one image on one thread. settings is a text that tells what
// else the numbers depend on. Numbers have the shortest digits that read back as the same number; fields are
// never quoted.
//
// Errors: std::runtime_error, "FILE: line N: what" for a file that is not such a table.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace qhv {

/// What a row is about: no two rows of a file have the same.
struct TableKey {
  std::string model, method;
  int wbits = 32, abits = 32;
  bool full = false;
  std::uint64_t seed = 0;
  bool operator==(const TableKey&) const = default;
};

struct TableRow {
  TableKey key;
  std::string arch, engine;
  double top1 = 0, top5 = 0, agreement = 0, fp32_top1 = 0;
  std::int64_t bytes = 0;
  double latency_ms = 0, seconds = 0;
  std::string settings;
};

inline constexpr const char* kFloatMethod = "float32";

/// "partial" or "full".
const char* scope_name(bool full);

/// Whether a text can be a field: not empty, UTF-8, without commas, quotes and control characters.
bool is_table_field(const std::string& text);

/// The rows of a file, none if there is no such file.
std::vector<TableRow> read_table(const std::string& path);

/// Replaces the file.
void write_table(const std::string& path, std::span<const TableRow> rows);

/// The row with this key, or null.
const TableRow* find_row(std::span<const TableRow> rows, const TableKey& key);

/// The number of the line in the file that one of its rows has.
std::ptrdiff_t line_number(std::span<const TableRow> rows, const TableRow& row);

}  // namespace qhv
