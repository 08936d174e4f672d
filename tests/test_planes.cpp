// Codes of twin and logarithmic quantisers in two planes of bytes.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "quant/integer/planes.h"
#include "tests/support.h"

using namespace qhv;

namespace {

/// Softmax of logits scale * codes in double.
std::vector<double> softmax_of(const std::vector<std::uint8_t>& codes, double scale) {
  const double largest = *std::ranges::max_element(codes);
  std::vector<double> p;
  double sum = 0;
  for (const std::uint8_t c : codes) sum += p.emplace_back(std::exp(scale * (c - largest)));
  for (double& x : p) x /= sum;
  return p;
}

std::vector<double> dequantized(const PlanedSoftmax& s, const std::vector<std::uint8_t>& codes) {
  std::vector<std::uint8_t> low(codes.size()), high(codes.size());
  softmax_planes(s, codes.data(), std::int64_t(codes.size()), low.data(), high.data());
  std::vector<double> values;
  for (std::size_t i = 0; i < codes.size(); ++i)
    values.push_back(s.unit * (low[i] + std::ldexp(high[i], s.shift)));
  return values;
}

}  // namespace

TEST_CASE("planes: softmax into twin and logarithmic codes is that of the quantiser") {
  const std::vector<Quantizer> quantizers{
      twin_softmax(0.5f, 8), twin_softmax(0x1p-5f, 8), twin_softmax(0x1p-12f, 8), twin_softmax(0x1p-3f, 4),
      logarithmic(1, 1, 8),  logarithmic(1, 1, 4),     logarithmic(0.37f, 2, 8),  logarithmic(1, 2, 6)};
  for (const Quantizer& quantizer : quantizers)
    for (const double scale : {0.01, 0.05, 0.3})
      for (const std::int64_t count : {1, 2, 64, 256}) {
        CAPTURE(scheme_name(quantizer));
        CAPTURE(scale);
        CAPTURE(count);
        std::vector<std::uint8_t> codes;
        const Tensor drawn = test::random_tensor({count}, std::uint64_t(count), 0, 255);
        for (const real x : drawn.values()) codes.push_back(std::uint8_t(x));
        const PlanedSoftmax s = planed_softmax(quantizer, scale, "test");
        const std::vector<double> p = softmax_of(codes, scale), actual = dequantized(s, codes);
        // The quantiser of a probability or of one next to it: thresholds are rounded.
        for (std::size_t i = 0; i < p.size(); ++i) {
          double closest = 1;
          for (const double nudge : {1.0, 1 - 1e-5, 1 + 1e-5}) {
            const Tensor x({1}, real(p[i] * nudge + (nudge - 1) * 1e-4));
            closest = std::min(closest, std::abs(double(fake_quantize(x, quantizer)[0]) - actual[i]));
          }
          CHECK(closest <= 0.5001 * s.unit);
        }
      }
}

TEST_CASE("planes: the two encodings of ranges that meet at zero add up to the quantiser's values") {
  for (const int bits : {3, 8})
    for (const int octaves : {0, 3, 12}) {
      CAPTURE(bits);
      CAPTURE(octaves);
      const TwinUniform twin = twin_silu(octaves, bits);
      const auto planes = twin_encodings(twin, 2, "test");
      CHECK(planes[1].scale[0] == std::ldexp(planes[0].scale[0], octaves));
      Tensor x = test::random_tensor({400}, 3, -1, 1);
      // Within the low range, the high one, and beyond both.
      for (std::int64_t i = 0; i < x.size(); ++i)
        x[i] *= x[i] < 0 ? real(0.4) : real(1.5) * twin.high_scale * real(twin.high_codes);
      x[0] = 0;
      x[1] = real(-0.2) * twin.low_scale;
      x[2] = real(0.2) * twin.high_scale;
      const Tensor expected = fake_quantize(x, twin);
      for (std::int64_t i = 0; i < x.size(); ++i) {
        double value = 0;
        int elsewhere = 0;
        for (const Encoding& e : planes) {
          REQUIRE(e.columns() == 2);
          CHECK(e.is_uniform());
          const double code = std::clamp(std::nearbyint(double(x[i]) / e.scale[0]) + e.zero[0],
                                         double(e.lo[0]), double(e.hi[0]));
          value += e.scale[0] * (code - e.zero[0]);
          elsewhere += code == e.zero[0];
        }
        CHECK(elsewhere >= 1);
        CHECK(test::near(value, double(expected[i]), 1e-6 * (1 + std::abs(value))));
      }
    }
}

TEST_CASE("planes: sums with the high plane are shifted and added") {
  std::vector<std::int32_t> sums(37), high(37), expected(37);
  for (int i = 0; i < 37; ++i) {
    sums[std::size_t(i)] = 1000 - 77 * i;
    high[std::size_t(i)] = 5 * i - 90;
    expected[std::size_t(i)] = sums[std::size_t(i)] + 8 * high[std::size_t(i)];
  }
  add_plane(high.data(), 37, 3, sums.data());
  CHECK(sums == expected);
}

TEST_CASE("planes: what they do not hold") {
  CHECK_THROWS_WITH_AS(planed_softmax(Unquantized{}, 0.1, "here"),
                       "[here] a quantiser of probabilities that is neither twin nor logarithmic",
                       std::invalid_argument);
  TwinUniform odd = twin_softmax(0.25f, 8);
  odd.high_scale *= 1.01f;
  CHECK_THROWS_AS(planed_softmax(odd, 0.1, "here"), std::invalid_argument);
  for (const float split : {-0.25f, 0.0f, 2.0f}) {
    TwinUniform elsewhere = twin_softmax(0.25f, 8);
    elsewhere.split = split;
    CHECK_THROWS_AS(planed_softmax(elsewhere, 0.1, "here"), std::invalid_argument);
  }
  CHECK_THROWS_WITH_AS(twin_encodings(twin_softmax(0.5f, 8), 1, "here"),
                       "[here] twin ranges that meet at 0.5 instead of zero", std::invalid_argument);
  TwinUniform finer_above = twin_silu(0, 8);
  finer_above.high_scale /= 2;
  CHECK_THROWS_AS(twin_encodings(finer_above, 1, "here"), std::invalid_argument);
  CHECK_THROWS_AS(plane_shift(0x1p17, "here"), std::invalid_argument);
  CHECK_THROWS_AS(plane_shift(0.5, "here"), std::invalid_argument);
  CHECK(plane_shift(8, "here") == 3);
}
