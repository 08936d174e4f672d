#include "experiments/table.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>
#include <sstream>

#include "experiments/number_text.h"
#include "tensor/check.h"
#include "tensor/file.h"
#include "tensor/untrusted.h"

namespace qhv {
namespace {

constexpr const char* kHeader =
    "model,arch,engine,method,wbits,abits,scope,seed,top1,top5,agreement,fp32_top1,bytes,latency_ms,seconds,"
    "settings";
constexpr std::uint64_t kMaxBytes = 64 << 20;

/// The fields of one line, taken from left to right. `where` is the file and the line.
class Fields {
 public:
  Fields(const std::string& line, const std::string& where) : where_(where) {
    const auto count = 1 + std::count(line.begin(), line.end(), ','),
               expected = 1 + std::ranges::count(std::string_view(kHeader), ',');
    if (count != expected) file_error(where, "has ", count, " fields, not ", expected);
    names_.str(kHeader);
    line_.str(line);
  }

  std::string text() {
    const std::string field = next();
    if (!is_table_field(field)) file_error(where_, name_, " ", in_quotes(field), " is not a name");
    return field;
  }

  bool is_full() {
    const std::string field = next();
    for (const bool full : {false, true})
      if (field == scope_name(full)) return full;
    file_error(where_, name_, " ", in_quotes(field), " is neither partial nor full");
  }

  /// From 0 to `highest`, which excludes infinity and NaN.
  template <typename T>
  T number(T highest = std::numeric_limits<T>::max()) {
    const std::string field = next();
    T value{};
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (error != std::errc() || end != field.data() + field.size() || !(value >= 0 && value <= highest))
      file_error(where_, name_, " ", in_quotes(field), " is not a number in its range");
    return value;
  }

 private:
  std::string next() {
    std::string field;
    std::getline(names_, name_, ',');
    std::getline(line_, field, ',');
    return field;
  }

  std::string where_, name_;
  std::istringstream names_, line_;
};

TableRow parse_row(Fields fields) {
  TableRow row;
  row.key.model = fields.text();
  row.arch = fields.text();
  row.engine = fields.text();
  row.key.method = fields.text();
  row.key.wbits = fields.number(32);
  row.key.abits = fields.number(32);
  row.key.full = fields.is_full();
  row.key.seed = fields.number<std::uint64_t>();
  row.top1 = fields.number(1.0);
  row.top5 = fields.number(1.0);
  row.agreement = fields.number(1.0);
  row.fp32_top1 = fields.number(1.0);
  row.bytes = fields.number<std::int64_t>();
  row.latency_ms = fields.number<double>();
  row.seconds = fields.number<double>();
  row.settings = fields.text();
  return row;
}

std::string text_of(const TableRow& r) {
  return concat(r.key.model, ",", r.arch, ",", r.engine, ",", r.key.method, ",", r.key.wbits, ",",
                r.key.abits, ",", scope_name(r.key.full), ",", r.key.seed, ",", number_text(r.top1), ",",
                number_text(r.top5), ",", number_text(r.agreement), ",", number_text(r.fp32_top1), ",",
                r.bytes, ",", number_text(r.latency_ms), ",", number_text(r.seconds), ",", r.settings, "\n");
}

}  // namespace

const char* scope_name(bool full) { return full ? "full" : "partial"; }

bool is_table_field(const std::string& text) {
  return !text.empty() && is_utf8(text) && std::ranges::none_of(text, [](unsigned char c) {
    return c == ',' || c == '"' || c < 0x20 || c == 0x7f;
  });
}

std::vector<TableRow> read_table(const std::string& path) {
  if (!std::filesystem::exists(path)) return {};
  const std::vector<std::byte> bytes = read_file(path, kMaxBytes);
  std::istringstream file(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  std::string line;
  std::getline(file, line);
  if (line != kHeader) file_error(path, "line 1: is ", in_quotes(line), ", not the header ", kHeader);
  std::vector<TableRow> rows;
  for (int number = 2; std::getline(file, line); ++number) {
    const std::string where = concat(path, ": line ", number);
    TableRow row = parse_row(Fields(line, where));
    if (const TableRow* earlier = find_row(rows, row.key))
      file_error(where, "is about the same as line ", line_number(rows, *earlier));
    rows.push_back(std::move(row));
  }
  return rows;
}

void write_table(const std::string& path, std::span<const TableRow> rows) {
  std::string text = concat(kHeader, "\n");
  for (const TableRow& row : rows) text += text_of(row);
  write_file(path, text);
}

const TableRow* find_row(std::span<const TableRow> rows, const TableKey& key) {
  const auto found = std::ranges::find(rows, key, &TableRow::key);
  return found == rows.end() ? nullptr : &*found;
}

std::ptrdiff_t line_number(std::span<const TableRow> rows, const TableRow& row) {
  return &row - rows.data() + 2;  // behind the header, and lines count from 1
}

}  // namespace qhv
