// Fixed-point multiplication against exact arithmetic: every tie, every end, every refusal.
#include <cmath>
#include <doctest/doctest.h>
#include <limits>

#include "quant/integer/normalizer.h"
#include "quant/integer/requantization.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

std::int32_t code_of(const Requantization& r, std::int32_t sum) {
  std::int32_t code = 0;
  kIntegerKernelsRef.requantize_i32(r.task(), &sum, 1, 1, 1, &code, 1);
  return code;
}

}  // namespace

TEST_CASE("requantisation: factors that are fractions of two are exact, with ties up") {
  for (int k = 0; k <= 12; ++k) {
    const double factor = std::ldexp(1, -k);
    const Requantization r =
        requantization(std::vector<Rescale>{{factor, 0, 0, 1 << 20, -100000, 100000}}, "test");
    CAPTURE(k);
    std::int64_t wrong = 0;
    for (std::int32_t sum = -9000; sum <= 9000; ++sum)  // all remainders of 2^-k, halves among them
      wrong += code_of(r, sum) != std::int32_t(std::floor(sum * factor + 0.5));
    CHECK(wrong == 0);
  }
}

TEST_CASE("requantisation: any factor is within the bound of its header, over all sums") {
  for (const double factor : {0.9999, 0.37, -0.0123, 3.3e-4, 7.77e-7, 2.9}) {
    CAPTURE(factor);
    const std::int32_t largest = 1 << 22;
    const Rescale column{factor, 12.25, -77, double(largest), -(1 << 30), 1 << 30};
    const Requantization r = requantization(std::vector<Rescale>{column}, "test");
    double worst = 0;
    for (std::int32_t sum = -largest; sum <= largest; sum += 997)
      worst = std::max(worst, std::abs(code_of(r, sum) - ((sum + 77) * factor + 12.25)));
    CHECK(worst <= 0.5 + (largest + 78) * std::ldexp(1, -r.shift - 1));
    CHECK(r.shift >= 29);
  }
}

TEST_CASE(
    "requantisation: codes are clipped, and a bias that 32 bits of its scale could not hold is not lost") {
  // s_a s_w = 1e-12, as a channel with weights of almost nothing has it: the bias would be code 5e11.
  const Rescale column{1e-12 / 0.01, 0.5 / 0.01 + 3, 0, 1e6, 0, 255};
  const Requantization r = requantization(std::vector<Rescale>{column}, "test");
  CHECK(code_of(r, 1000) == 53);
  const Requantization far = requantization(
      std::vector<Rescale>{{1e-3, 1e12, 0, 1e6, 0, 255}, {1e-3, -1e12, 0, 1e6, 0, 255}}, "test");
  const std::int32_t sums[] = {-1000000, 1000000};
  std::int32_t codes[2];
  kIntegerKernelsRef.requantize_i32(far.task(), sums, 2, 1, 2, codes, 2);
  CHECK(codes[0] == 255);
  CHECK(codes[1] == 0);
}

TEST_CASE("requantisation: two operands, each with its zero point") {
  std::vector<std::int32_t> multiplier;
  const Rescale a{0.5, 10, 4, 1 << 15, -32768, 32767};
  const Addend b{0.25, -8};
  const Requantization r =
      requantization_of_sum(std::vector<Rescale>{a}, std::vector<Addend>{b}, multiplier, "test");
  const std::int32_t sum = 104;
  const std::int16_t addend = 32;
  std::int16_t code = 0;
  kIntegerKernelsRef.add_i16(r.task(), multiplier.data(), &sum, 1, &addend, 1, 1, 1, &code, 1);
  CHECK(code == 50 + 10 + 10);
}

TEST_CASE("requantisation: what cannot be a fixed-point number is refused") {
  const double nan = std::numeric_limits<double>::quiet_NaN(),
               infinity = std::numeric_limits<double>::infinity();
  CHECK(error_of([&] {
          requantization(std::vector<Rescale>{{nan, 0, 0, 1, 0, 255}}, "layer");
        }) == "invalid_argument: [layer] a factor of nan");
  CHECK(error_of([&] {
          requantization(std::vector<Rescale>{{1, infinity, 0, 1, 0, 255}}, "layer");
        }) == "invalid_argument: [layer] an addend of inf");
  CHECK(error_of([&] {
          requantization(std::vector<Rescale>{{1e6, 0, 0, 1e6, 0, 255}}, "layer");
        }).starts_with("invalid_argument: [layer] results of up to 1e+12 do not fit 32 bits"));
}

TEST_CASE("normaliser: roots are exact, and rows are normalised as in double") {
  for (std::uint64_t x = 0; x < 5000; ++x) {
    const std::uint64_t root = integer_root(x);
    CHECK((root * root <= x && (root + 1) * (root + 1) > x));
  }
  const std::uint64_t large = (std::uint64_t{1} << 62) - 1;
  CHECK(integer_root(large) == (std::uint64_t{1} << 31) - 1);

  for (const int spread : {1, 3, 1000, 30000}) {
    const std::int16_t codes[] = {std::int16_t(spread), std::int16_t(-spread), std::int16_t(spread / 2), 0,
                                  7};
    Moments m;
    kIntegerKernelsRef.moments(codes, 5, &m.sum, &m.squares);
    const double mean = double(m.sum) / 5, variance = double(m.squares) / 5 - mean * mean, eps = 2.5;
    const Normalizer n = normalizer(m, 5, std::int64_t(eps * 65536));
    std::int32_t normalized[5];
    kIntegerKernelsRef.normalize(codes, 5, n.mean, n.inverse, n.shift, normalized);
    for (int i = 0; i < 5; ++i) {
      const double exact = (codes[i] - mean) / std::sqrt(variance + eps);
      // The mean is off by 2^-9 of a code, the inverse root by 2^-29 of itself, the result by half a unit.
      CHECK(std::abs(normalized[i] / 65536.0 - exact) <=
            0x1p-9 / std::sqrt(variance + eps) + 0x1p-28 * std::abs(exact) + 0x1p-16);
    }
  }
  // A row without any variance has eps alone.
  const Normalizer flat = normalizer({5 * 123, 5 * 123 * 123}, 5, 1);
  CHECK(flat.mean == 123 * 256);
  CHECK(flat.shift > 0);
}
