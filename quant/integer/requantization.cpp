#include "quant/integer/requantization.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"

namespace qhv {
namespace {

// With it the upper half of a product is the result, which is the fastest; more than that gains nothing.
constexpr int kMostShift = 32;

/// The largest |(sum - center) * factor| of a column.
double largest_product(const Rescale& column) {
  return (column.largest + std::abs(double(column.center))) * std::abs(column.factor);
}

/// An addend that takes every sum far outside of the codes may do so less far.
double reachable_addend(const Rescale& column, double product) {
  const double reach = product + std::max(std::abs(double(column.lo)), std::abs(double(column.hi))) + 1;
  return std::clamp(column.addend, -reach, reach);
}

/// The largest shift with which no multiplier leaves 32 bits and no intermediate result 62.
int shift_for(double factor, double result, const std::string& where) {
  require(result < 0x1p31, where, "results of up to ", result, " do not fit 32 bits");
  int shift = 1;
  while (shift < kMostShift && std::ldexp(factor, shift + 1) < 0x1p31 - 1 &&
         std::ldexp(result, shift + 1) < 0x1p62)
    ++shift;
  require(std::ldexp(factor, shift) < 0x1p31 - 1, where, "a factor of ", factor, " does not fit 32 bits");
  return shift;
}

std::int64_t fixed_point(double value, int shift) { return std::llround(std::ldexp(value, shift)); }

}  // namespace

Requantization requantization_of_sum(std::span<const Rescale> columns, std::span<const Addend> addends,
                                     std::vector<std::int32_t>& addend_multiplier, const std::string& where) {
  constexpr double kLargestAddend = 1 << 15;
  double factor = 0, result = 0;
  std::vector<double> products;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const Rescale& column = columns[c];
    require(std::isfinite(column.factor), where, "a factor of ", column.factor);
    require(std::isfinite(column.addend), where, "an addend of ", column.addend);
    factor = std::max(factor, std::abs(column.factor));
    double product = largest_product(column);
    if (!addends.empty()) {
      require(std::isfinite(addends[c].factor), where, "a factor of ", addends[c].factor);
      factor = std::max(factor, std::abs(addends[c].factor));
      product += (kLargestAddend + std::abs(double(addends[c].center))) * std::abs(addends[c].factor);
    }
    products.push_back(product);
    result = std::max(result, product + std::abs(reachable_addend(column, product)));
  }
  Requantization r;
  r.shift = shift_for(factor, result, where);
  addend_multiplier.clear();
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const Rescale& column = columns[c];
    const std::int64_t m = fixed_point(column.factor, r.shift);
    std::int64_t offset = fixed_point(reachable_addend(column, products[c]), r.shift) - column.center * m +
                          (std::int64_t{1} << (r.shift - 1));
    if (!addends.empty()) {
      const std::int64_t am = fixed_point(addends[c].factor, r.shift);
      addend_multiplier.push_back(std::int32_t(am));
      offset -= addends[c].center * am;
    }
    r.multiplier.push_back(std::int32_t(m));
    r.offset.push_back(offset);
    r.lo.push_back(column.lo);
    r.hi.push_back(column.hi);
  }
  return r;
}

Requantization requantization(std::span<const Rescale> columns, const std::string& where) {
  std::vector<std::int32_t> none;
  return requantization_of_sum(columns, {}, none, where);
}

}  // namespace qhv
