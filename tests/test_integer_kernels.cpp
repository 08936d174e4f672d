// Every table of integer kernels puts out the plain one's bits: odd sizes, tails, extremes.
#include <cmath>
#include <doctest/doctest.h>
#include <limits>
#include <tuple>
#include <vector>

#include "quant/integer/requantization.h"
#include "tensor/kernels/integer_kernels.h"
#include "tensor/kernels/packed_int8.h"
#include "tensor/rng.h"

using namespace qhv;

namespace {

/// Integers from lo to hi; `extreme`: only these two.
template <typename T>
std::vector<T> integers(std::int64_t count, std::int64_t lo, std::int64_t hi, std::uint64_t seed,
                        bool extreme = false) {
  std::vector<T> result;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto step = std::int64_t(random_below(seed, std::uint64_t(i), std::uint32_t(hi - lo + 1)));
    result.push_back(T(extreme ? (step % 2 ? hi : lo) : lo + step));
  }
  return result;
}

/// Calls check(table) for every table but the plain one that this CPU can execute.
template <typename Check>
void for_each_fast_table(Check check) {
  for (const IntegerKernels* table : integer_kernel_tables()) {
    if (table == &kIntegerKernelsRef || !table->is_supported()) continue;
    CAPTURE(table->name);
    check(*table);
  }
}

constexpr std::int64_t kDepths[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 144, 640, 801};
constexpr std::int64_t kColumns[] = {1, 5, 15, 16, 17, 31, 33, 48, 63, 64, 65, 80, 96, 121};

}  // namespace

TEST_CASE("integer gemm: sums of products in every shape, extremes included") {
  for (const std::int64_t depth : kDepths)
    for (const std::int64_t columns : kColumns)
      for (const bool extreme : {false, true}) {
        CAPTURE(depth);
        CAPTURE(columns);
        const std::int64_t rows = extreme ? 1 + depth % 23 : 16 + depth % 31;
        const auto x = integers<std::uint8_t>(rows * depth + kSlack, 0, 255, 1, extreme);
        const auto w = integers<std::int8_t>(depth * columns, -128, 127, 2, extreme);
        const PackedInt8 packed = pack_int8(w, columns, 1);
        const std::int64_t stride = packed.panels * kPanelColumns;
        const auto run = [&](const IntegerKernels& kernels) {
          std::vector<std::int32_t> sums(std::size_t(rows * stride), 7);
          kernels.gemm({.src = x.data(),
                        .src_stride = depth,
                        .segment_quads = packed.segment_quads,
                        .weights = packed.data.data(),
                        .panels = packed.panels,
                        .sums = sums.data(),
                        .sums_stride = stride},
                       0, rows);
          return sums;
        };
        const std::vector<std::int32_t> expected = run(kIntegerKernelsRef);
        std::int64_t wrong = 0;  // the definition itself
        for (std::int64_t m = 0; m < rows; ++m)
          for (std::int64_t n = 0; n < columns; ++n) {
            std::int64_t sum = 0;
            for (std::int64_t k = 0; k < depth; ++k)
              sum += std::int64_t(x[std::size_t(m * depth + k)]) * w[std::size_t(n * depth + k)];
            wrong += sum != expected[std::size_t(m * stride + n)];
          }
        CHECK(wrong == 0);
        for_each_fast_table([&](const IntegerKernels& table) { CHECK(run(table) == expected); });
      }
}

TEST_CASE("integer gemm: windows of several segments, rows anywhere, a stretch of them") {
  for (const std::int64_t channels : {1, 3, 4, 7, 16, 24, 96})
    for (const std::int64_t segments : {3, 5}) {
      CAPTURE(channels);
      CAPTURE(segments);
      // Of 23 windows in a row of the map, so that some 16 of them are as far apart as each other, some not.
      constexpr std::int64_t kWidth = 25, kHeight = 8, kColumnsOut = 37;
      const std::int64_t size = 3 * channels, depth = segments * size;
      const auto x = integers<std::uint8_t>(kWidth * kHeight * channels + kSlack, 0, 255, 3);
      const auto w = integers<std::int8_t>(depth * kColumnsOut, -128, 127, 4);
      const PackedInt8 packed = pack_int8(w, kColumnsOut, segments);
      std::vector<std::int32_t> rows;
      for (std::int64_t y = 0; y < 3; ++y)
        for (std::int64_t i = 0; i + 2 < kWidth; ++i)
          rows.push_back(std::int32_t((y * kWidth + i) * channels));
      const std::int64_t stride = packed.panels * kPanelColumns;
      const auto run = [&](const IntegerKernels& kernels) {
        std::vector<std::int32_t> sums(std::size_t(57 * stride), 7);
        kernels.gemm({.src = x.data(),
                      .src_rows = rows.data(),
                      .segments = segments,
                      .segment_stride = kWidth * channels,
                      .segment_quads = packed.segment_quads,
                      .weights = packed.data.data(),
                      .panels = packed.panels,
                      .sums = sums.data(),
                      .sums_stride = stride},
                     4, 61);
        return sums;
      };
      const std::vector<std::int32_t> expected = run(kIntegerKernelsRef);
      std::int64_t sum = 0;  // row 4, column 36
      for (std::int64_t k = 0; k < depth; ++k)
        sum += std::int64_t(x[std::size_t(rows[4] + k / size * kWidth * channels + k % size)]) *
               w[std::size_t(36 * depth + k)];
      CHECK(expected[36] == sum);
      for_each_fast_table([&](const IntegerKernels& table) { CHECK(run(table) == expected); });
    }
}

TEST_CASE("integer depthwise: borders, strides, odd channels, weights with and without zero points") {
  for (const std::int64_t channels : {1, 8, 31, 63, 64, 65, 130})
    for (const std::int64_t stride : {1, 2})
      for (const std::int64_t size : {1, 2, 3, 6, 7})
        for (const bool zeros : {false, true}) {
          CAPTURE(channels);
          CAPTURE(stride);
          CAPTURE(size);
          const bool extreme = size == 3;
          const auto x = integers<std::uint8_t>(size * size * channels + kSlack, 0, 255, 5, extreme);
          const auto zero = integers<std::uint8_t>(channels, 0, 255, 6, extreme);
          const auto w = integers<std::int8_t>(9 * channels, -128, 127, 7, extreme);
          const auto weight_zero = integers<std::int32_t>(channels, -128, 127, 8, extreme);
          const std::int64_t out = (size - 1) / stride + 1;
          const IntegerDepthwiseTask task{
              x.data(), zero.data(), w.data(), zeros ? weight_zero.data() : nullptr, size, size,
              channels, out,         stride};
          const auto run = [&](const IntegerKernels& kernels) {
            std::vector<std::int32_t> sums(std::size_t(out * out * channels), 7);
            for (std::int64_t y = 0; y < out; ++y)
              kernels.depthwise(task, y, 0, out, sums.data() + y * out * channels);
            return sums;
          };
          const std::vector<std::int32_t> expected = run(kIntegerKernelsRef);
          const auto c = std::size_t(channels - 1);
          std::int64_t sum = 0;  // the first pixel of the last channel
          for (std::int64_t k = 0; k < 9; ++k) {
            const std::int64_t iy = k / 3 - 1, ix = k % 3 - 1;
            const bool inside = iy >= 0 && ix >= 0 && iy < size && ix < size;
            const std::int64_t code = inside ? x[std::size_t((iy * size + ix) * channels) + c] : zero[c];
            sum += code * (w[std::size_t(k * channels) + c] - (zeros ? weight_zero[c] : 0));
          }
          CHECK(expected[c] == sum);
          for_each_fast_table([&](const IntegerKernels& table) { CHECK(run(table) == expected); });
        }
}

namespace {

/// A code of each type from the same rows, with strides of their own.
template <typename Code, typename Convert>
std::vector<Code> converted(std::int64_t rows, std::int64_t columns, Convert convert) {
  std::vector<Code> codes(std::size_t(rows * (columns + 3)), Code(77));
  convert(codes.data(), columns + 3);
  return codes;
}

}  // namespace

TEST_CASE("integer codes: requantisation, additions and tables in every width") {
  for (const std::int64_t columns : {1, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65, 100}) {
    CAPTURE(columns);
    constexpr std::int64_t kRows = 5;
    const auto sums = integers<std::int32_t>(kRows * columns, -(1 << 24), 1 << 24, 8);
    const auto addend = integers<std::int16_t>(kRows * columns, -32768, 32767, 9);
    const auto codes = integers<std::uint8_t>(kRows * columns, 0, 255, 10);
    const auto table = integers<std::int16_t>(256, -32768, 32767, 11);
    const auto wide_table = integers<std::int32_t>(256, -(1 << 23), 1 << 23, 12);
    std::vector<Rescale> columns_u8, columns_i16, columns_i32;
    std::vector<Addend> addends;
    for (std::int64_t c = 0; c < columns; ++c) {
      const double u = unit_uniform(12, std::uint64_t(c)), factor = (u + 0.01) * (c % 5 == 4 ? -1 : 1);
      columns_u8.push_back({factor * 2e-5, u * 100, 1000 * c, 1 << 24, 3, 250});
      columns_i16.push_back({factor * 2e-3, -u * 1000, -c, 1 << 24, -32768, 32767});
      columns_i32.push_back({factor, u, 0, 1 << 24, std::numeric_limits<std::int32_t>::min(),
                             std::numeric_limits<std::int32_t>::max()});
      addends.push_back({u * 0.01, 12 * c});
    }
    const Requantization u8 = requantization(columns_u8, "test"), i16 = requantization(columns_i16, "test"),
                         i32 = requantization(columns_i32, "test");
    std::vector<std::int32_t> m8, m16;
    const Requantization sum8 = requantization_of_sum(columns_u8, addends, m8, "test"),
                         sum16 = requantization_of_sum(columns_i16, addends, m16, "test");
    const auto all = [&](const IntegerKernels& k) {
      const std::int64_t n = columns;
      return std::tuple(
          converted<std::uint8_t>(
              kRows, n,
              [&](auto* to, auto s) { k.requantize_u8(u8.task(), sums.data(), n, kRows, n, to, s); }),
          converted<std::int16_t>(
              kRows, n,
              [&](auto* to, auto s) { k.requantize_i16(i16.task(), sums.data(), n, kRows, n, to, s); }),
          converted<std::int32_t>(
              kRows, n,
              [&](auto* to, auto s) { k.requantize_i32(i32.task(), sums.data(), n, kRows, n, to, s); }),
          converted<std::uint8_t>(kRows, n,
                                  [&](auto* to, auto s) {
                                    k.add_u8(sum8.task(), m8.data(), sums.data(), n, addend.data(), n, kRows,
                                             n, to, s);
                                  }),
          converted<std::int16_t>(kRows, n,
                                  [&](auto* to, auto s) {
                                    k.add_i16(sum16.task(), m16.data(), sums.data(), n, addend.data(), n,
                                              kRows, n, to, s);
                                  }),
          converted<std::uint8_t>(
              kRows, n,
              [&](auto* to, auto s) { k.look_up_u8(table.data(), codes.data(), n, kRows, n, to, s); }),
          converted<std::int16_t>(
              kRows, n,
              [&](auto* to, auto s) { k.look_up_i16(table.data(), codes.data(), n, kRows, n, to, s); }),
          converted<std::uint8_t>(kRows, n,
                                  [&](auto* to, auto s) {
                                    k.rescale_table(u8.task(), wide_table.data(), codes.data(), n, kRows, n,
                                                    to, s);
                                  }),
          converted<std::uint8_t>(kRows, n, [&](auto* to, auto s) {
            RequantizeTask task = u8.task();
            task.row_terms = wide_table.data();
            k.requantize_u8(task, sums.data(), n, kRows, n, to, s);
          }));
    };
    const auto expected = all(kIntegerKernelsRef);
    for_each_fast_table([&](const IntegerKernels& kernels) { CHECK((all(kernels) == expected)); });
  }
}

TEST_CASE("integer rows: sums, softmax, normalisation, products") {
  for (const std::int64_t count : {1, 2, 7, 16, 17, 33, 64, 100, 256, 1000, 1100}) {
    CAPTURE(count);
    const auto codes = integers<std::uint8_t>(count + kSlack, 0, 255, 13);
    const auto words = integers<std::int16_t>(count, -32768, 32767, 14);
    const auto zero = integers<std::int32_t>(count, 0, 255, 15),
               factors = integers<std::int32_t>(count, -128, 127, 16);
    std::uint16_t exponents[256];
    for (int d = 0; d < 256; ++d) exponents[d] = std::uint16_t(std::lround(32767 * std::exp(-0.04 * d)));
    std::vector<std::int32_t> offsets;  // of rows of 10, one of them apart
    for (std::int32_t r = 0; r < count / 10; ++r) offsets.push_back(r ? r * 10 : 3);
    const auto packed = [&](auto pack, std::int64_t rows, std::int64_t size, std::int64_t depth,
                            std::int64_t columns) {
      std::vector<std::int8_t> to(std::size_t((columns + 15) / 16 * 16 * (depth + 3)), std::int8_t{5});
      std::vector<std::int32_t> sums(std::size_t(columns), 9);
      pack(codes.data(), offsets.data(), rows, size, to.data(), sums.data());
      return std::pair(to, sums);
    };
    const auto all = [&](const IntegerKernels& k) {
      std::vector<std::int32_t> subtracted(factors), normalized(std::size_t(count), 0), added(factors),
          products(std::size_t(count), 0);
      std::vector<std::uint8_t> probabilities(std::size_t(2 * count), 0);
      std::vector<std::pair<std::vector<std::int8_t>, std::vector<std::int32_t>>> keys;
      std::int64_t sum = 3, squares = 4;
      const std::int32_t row = k.row_sum(codes.data(), count);
      k.subtract_zeros(subtracted.data(), count, row, zero.data(), factors.data());
      k.subtract_zeros(subtracted.data(), count, 5, zero.data(), nullptr);
      const std::int64_t part = (count + 1) / 2;  // in two rows, which overlap where the count is odd
      k.softmax({exponents, 65536 * 255, 3, 3, 250}, codes.data(), count - part, 2, part,
                probabilities.data(), count - part);
      k.softmax({exponents, 65536 * 255, 3, 3, 250}, codes.data(), count, 1, count,
                probabilities.data() + count, count);
      k.normalize(words.data(), count, -70000, 1900000000, 33, normalized.data());
      k.moments(words.data(), count, &sum, &squares);
      k.add_multiple(codes.data(), zero.data(), count, -77, added.data());
      k.multiply(codes.data(), zero.data(), factors.data(), count, products.data());
      const auto rows = std::int64_t(offsets.size());
      if (rows) {
        for (const std::int64_t size : {1, 7, 10}) {
          keys.push_back(packed(k.pack_rows, rows, size, size, rows));
          keys.push_back(packed(k.pack_columns, rows, size, rows, size));
        }
      }
      return std::tuple(row, subtracted, probabilities, normalized, sum, squares, added, products, keys);
    };
    const auto expected = all(kIntegerKernelsRef);
    std::int64_t sum = 3, squares = 4, row = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      sum += words[std::size_t(i)];
      squares += std::int64_t(words[std::size_t(i)]) * words[std::size_t(i)];
      row += codes[std::size_t(i)];
    }
    CHECK(std::get<0>(expected) == row);
    CHECK(std::get<4>(expected) == sum);
    CHECK(std::get<5>(expected) == squares);
    for_each_fast_table([&](const IntegerKernels& kernels) { CHECK((all(kernels) == expected)); });
  }
}

TEST_CASE("integer softmax: probabilities that a sum in double confirms, to one code") {
  const auto codes = integers<std::uint8_t>(300, 0, 255, 17);
  std::uint16_t exponents[256];
  for (int d = 0; d < 256; ++d) exponents[d] = std::uint16_t(std::lround(32767 * std::exp(-0.03 * d)));
  for (const double scale : {1 / 255.0, 1 / 2000.0, 1 / 40000.0}) {
    std::vector<std::uint8_t> p(300, 0);
    kIntegerKernelsRef.softmax({exponents, std::uint32_t(std::lround(65536 / scale)), 0, 0, 255},
                               codes.data(), 300, 1, 300, p.data(), 300);
    double sum = 0;
    for (const std::uint8_t c : codes) sum += std::exp(-0.03 * (255 - c));
    for (std::size_t i = 0; i < 300; ++i) {
      const double exact = std::min(255.0, std::exp(-0.03 * (255 - codes[i])) / sum / scale);
      // Half a code of rounding, and 2^-17 of the largest exponential's error.
      CHECK(std::abs(p[i] - exact) <= 0.5 + 0x1p-15 / (sum * scale));
    }
  }
}
