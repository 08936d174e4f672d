#include "quant/integer/columns.h"

#include <algorithm>
#include <cmath>

namespace qhv {
namespace {

// Of the largest value of SiLU: channels may have far smaller steps than its own.
constexpr double kSiluUnits = 1 << 23;
constexpr int kMostLogitBits = 16;

}  // namespace

Requantization to_codes(const std::vector<Column>& columns, const Encoding& e, const std::string& where) {
  std::vector<Rescale> rescale;
  for (std::size_t c = 0; c < columns.size(); ++c)
    rescale.push_back({columns[c].unit / e.scale[c], columns[c].bias / e.scale[c] + e.zero[c],
                       columns[c].center, columns[c].largest, e.lo[c], e.hi[c]});
  return requantization(rescale, where);
}

Output output_of(const Form& form) {
  return {.buffer = form.buffer, .type = form.encoding.type, .column = form.column, .stride = form.stride};
}

void store_plain(Store& store, Readers& readers, int node, const std::vector<Column>& columns,
                 const std::string& where) {
  for (const Form& form : readers.forms(node)) {
    Output output = output_of(form);
    output.to_codes = to_codes(columns, form.encoding, where);
    store.outputs.push_back(std::move(output));
  }
}

void store_silu(Store& store, Readers& readers, int silu, const std::vector<Column>& columns,
                const std::string& where) {
  const Encoding in = readers.encoding({silu, 0}, std::int64_t(columns.size()));
  if (!in.is_uniform() || in.type != CodeType::kU8)
    readers.unsupported(silu, "reads more than one set of codes");
  store.inner = to_codes(columns, in, where);
  store.has_silu = true;
  std::array<double, 256> values{};
  double largest = 0;
  for (int q = in.lo[0]; q <= in.hi[0]; ++q) {
    const double x = in.scale[0] * (q - in.zero[0]);
    values[std::size_t(q)] = x / (1 + std::exp(-x));
    largest = std::max(largest, std::abs(values[std::size_t(q)]));
  }
  const double unit = largest > 0 ? largest / kSiluUnits : 1;
  for (std::size_t q = 0; q < 256; ++q) store.silu[q] = std::int32_t(std::lround(values[q] / unit));
  const std::vector<Column> of_values(columns.size(), Column{unit, 0, 0, kSiluUnits});
  for (const Form& form : readers.forms(silu)) {
    Output output = output_of(form);
    const Encoding& e = form.encoding;
    if (e.is_uniform()) {
      output.table.emplace();
      for (std::size_t q = 0; q < 256; ++q)
        (*output.table)[q] = std::int16_t(
            std::clamp(std::nearbyint(values[q] / e.scale[0]) + e.zero[0], double(e.lo[0]), double(e.hi[0])));
    } else {
      if (e.type != CodeType::kU8) readers.unsupported(silu, "is read with 16 bits of different scales");
      output.to_codes = to_codes(of_values, e, where);
    }
    store.outputs.push_back(std::move(output));
  }
}

void store_add(Store& store, Readers& readers, int add, int slot, const std::vector<Column>& columns,
               const std::string& where) {
  const auto count = std::int64_t(columns.size());
  const Encoding a = readers.encoding({add, slot}, count);
  const Form& b = readers.input({add, 1 - slot});
  if (a.type != CodeType::kI16 || b.encoding.type != CodeType::kI16 || b.stride != count)
    readers.unsupported(add, "reads less than 16 bits");
  store.inner = to_codes(columns, a, where);
  store.addend = b.buffer;
  for (const Form& form : readers.forms(add)) {
    std::vector<Rescale> rescale;
    std::vector<Addend> addends;
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const Encoding& e = form.encoding;
      rescale.push_back({a.scale[c] / e.scale[c], double(e.zero[c]), a.zero[c], 0x1p15, e.lo[c], e.hi[c]});
      addends.push_back({b.encoding.scale[c] / e.scale[c], b.encoding.zero[c]});
    }
    Output output = output_of(form);
    output.to_codes = requantization_of_sum(rescale, addends, output.addend_multiplier, where);
    store.outputs.push_back(std::move(output));
  }
}

double store_logits(Store& store, std::vector<Buffer>& buffers, const std::vector<Column>& columns,
                    const std::string& where) {
  double largest = 0;
  for (const Column& c : columns)
    largest = std::max(largest, 2 * (c.largest + std::abs(double(c.center))) * c.unit + std::abs(c.bias));
  int bits = kMostLogitBits;
  while (std::ldexp(largest, bits) >= 0x1p30) --bits;
  const Encoding e = logits_encoding(store.columns, bits);
  buffers.push_back({.size = store.columns * 4});
  Output output = output_of({e, int(buffers.size()) - 1, 1, 0, store.columns});
  output.to_codes = to_codes(columns, e, where);
  store.outputs.push_back(std::move(output));
  return e.scale[0];
}

}  // namespace qhv
