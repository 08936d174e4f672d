// Element types: names, sizes, and the values that their bytes stand for.
#include <algorithm>
#include <bit>
#include <cmath>
#include <doctest/doctest.h>

#include "tensor/bytes.h"
#include "tensor/tensor_file.h"
#include "tensor/untrusted.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

RawTensor raw_of(DType dtype, Shape shape, std::initializer_list<int> bytes) {
  RawTensor raw{dtype, std::move(shape), {}};
  for (const int byte : bytes) raw.bytes.push_back(std::byte(byte));
  return raw;
}

/// The definition of the half format, written with powers of two.
float half_by_definition(int half) {
  const int exponent = half >> 10 & 31, fraction = half & 0x3ff;
  const double sign = half & 0x8000 ? -1 : 1;
  if (exponent == 31) return fraction ? NAN : float(sign * INFINITY);
  if (exponent == 0) return float(sign * std::scalbn(fraction, -24));
  return float(sign * std::scalbn(1024 + fraction, exponent - 25));
}

}  // namespace

TEST_CASE("little-endian numbers are read and written at any address") {
  const auto raw = raw_of(DType::kU8, {9}, {0xff, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x88});
  const std::byte* odd = raw.bytes.data() + 1;
  CHECK(load_le<std::uint8_t>(odd) == 0x01);
  CHECK(load_le<std::uint16_t>(odd) == 0x0201);
  CHECK(load_le<std::uint32_t>(odd) == 0x04030201);
  CHECK(load_le<std::uint64_t>(odd) == 0x8807060504030201);
  std::byte copy[8];
  store_le(copy, std::uint64_t{0x8807060504030201});
  CHECK(std::equal(copy, copy + 8, odd));
}

TEST_CASE("every half has the value of the definition") {
  for (int half = 0; half < 0x10000; ++half) {
    const float actual = half_to_float(std::uint16_t(half)), expected = half_by_definition(half);
    CAPTURE(half);
    if (std::isnan(expected)) {
      REQUIRE(std::isnan(actual));
    } else {
      REQUIRE(std::bit_cast<std::uint32_t>(actual) == std::bit_cast<std::uint32_t>(expected));  // -0 too
    }
  }
}

TEST_CASE("every half comes back from its value, NaN as NaN") {
  RawTensor raw{DType::kF16, {0x10000}, std::vector<std::byte>(0x20000)};
  for (int half = 0; half < 0x10000; ++half) store_le(raw.bytes.data() + 2 * half, std::uint16_t(half));
  const RawTensor back = to_raw_f16(to_real(raw, "t"));
  CHECK(back.dtype == DType::kF16);
  CHECK(back.shape == raw.shape);
  REQUIRE(back.bytes.size() == raw.bytes.size());
  for (int half = 0; half < 0x10000; ++half) {
    const int found = load_le<std::uint16_t>(back.bytes.data() + 2 * half);
    const bool nan = (half & 0x7fff) > 0x7c00;
    CAPTURE(half);
    REQUIRE(found == (nan ? (half & 0x8000) | 0x7e00 : half));
  }
}

TEST_CASE("between two halves the nearer one is taken, in the middle the even one") {
  for (int half = 0; half < 0x7bff; ++half) {
    const double low = half_by_definition(half), high = half_by_definition(half + 1);
    const double middle = (low + high) / 2;
    CAPTURE(half);
    REQUIRE(double_to_half(middle) == half + (half & 1));
    REQUIRE(double_to_half(-middle) == (0x8000 | (half + (half & 1))));
    // The next doubles: by way of float both would become ties.
    REQUIRE(double_to_half(std::nextafter(middle, 0)) == half);
    REQUIRE(double_to_half(std::nextafter(middle, 1e6)) == half + 1);
  }
}

TEST_CASE("a value that no half holds is refused") {
  const auto half_of = [](double value) {
    const RawTensor raw = to_raw_f16(Tensor({1}, real(value)));
    return int(load_le<std::uint16_t>(raw.bytes.data()));
  };
  CHECK(half_of(65519) == 0x7bff);
  CHECK(half_of(-65519) == 0xfbff);
  CHECK(half_of(double(INFINITY)) == 0x7c00);
  CHECK(half_of(-double(INFINITY)) == 0xfc00);
  CHECK(half_of(std::nan("")) == 0x7e00);
  CHECK(half_of(1e-30) == 0);
  CHECK(half_of(-1e-30) == 0x8000);
  CHECK(half_of(0x1p-25) == 0);  // half of the smallest subnormal
  CHECK(half_of(0x1.002p-25) == 1);
  CHECK(error_of([] {
          to_raw_f16(Tensor({1, 2}, std::vector<real>{1, -65520}));
        }) == "invalid_argument: [to_raw_f16] element 1 of [1, 2] is -65520, beyond the largest half, 65504");
  for (const double value : {65536.0, 1e30, -1e38})
    CHECK(error_of([&] { half_of(value); }).starts_with("invalid_argument: [to_raw_f16]"));
}

TEST_CASE("halves and bfloat16 of known value") {
  CHECK(half_to_float(0x3c00) == 1.0f);
  CHECK(half_to_float(0xc000) == -2.0f);
  CHECK(half_to_float(0x7bff) == 65504.0f);
  CHECK(half_to_float(0x0001) == 5.9604644775390625e-8f);
  CHECK(half_to_float(0x03ff) == 6.097555160522461e-5f);
  CHECK(half_to_float(0x0400) == 6.103515625e-5f);
  CHECK(half_to_float(0xfc00) == -INFINITY);
  CHECK(std::isnan(half_to_float(0x7e00)));
  CHECK(bfloat16_to_float(0x3f80) == 1.0f);
  CHECK(bfloat16_to_float(0xc049) == -3.140625f);
  CHECK(bfloat16_to_float(0x0001) == 9.183549615799121e-41f);  // a subnormal float, too
  CHECK(bfloat16_to_float(0x7f80) == INFINITY);
  CHECK(std::isnan(bfloat16_to_float(0x7fc0)));
}

TEST_CASE("to_real reads every floating-point type") {
  const auto f64 = raw_of(DType::kF64, {1}, {0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f});
  CHECK(to_real(f64, "t")[0] == real(0.1));  // exact where real is double
  const auto f32 = raw_of(DType::kF32, {2, 1}, {0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0});
  CHECK(difference(to_real(f32, "t"), Tensor({2, 1}, std::vector<real>{1, -2.5}), 0) == "");
  const auto f16 = raw_of(DType::kF16, {2}, {0x00, 0x3e, 0x01, 0x80});
  CHECK(difference(to_real(f16, "t"), Tensor({2}, std::vector<real>{1.5, real(-0x1p-24)}), 0) == "");
  const auto bf16 = raw_of(DType::kBF16, {1}, {0x49, 0x40});
  CHECK(to_real(bf16, "t")[0] == real(3.140625));
  CHECK(to_real(raw_of(DType::kF32, {0, 3}, {}), "t").shape() == Shape{0, 3});
}

TEST_CASE("to_real refuses integers and to_codes refuses everything else") {
  for (const DType dtype : {DType::kI8, DType::kU8, DType::kBool})
    CHECK(error_of([&] {
            to_real(raw_of(dtype, {1}, {1}), "a.pt: tensor x");
          }).starts_with("runtime_error: a.pt: tensor x: expected a floating-point type"));
  const std::string error = error_of([] { to_real(raw_of(DType::kI16, {1}, {1, 0}), "t"); });
  CHECK(error.ends_with("found I16 [1]"));
  CHECK(error_of([] {
          to_codes(raw_of(DType::kF16, {1}, {1, 0}), "t");
        }) == "runtime_error: t: expected integer codes, found F16 [1]");
  const auto codes = [](DType dtype, std::initializer_list<int> bytes, std::int64_t count) {
    const TensorI32 values = to_codes(raw_of(dtype, {count}, bytes), "t");
    return std::vector<std::int32_t>(values.values().begin(), values.values().end());
  };
  CHECK(codes(DType::kI8, {0x7f, 0x80, 0xff}, 3) == std::vector<std::int32_t>{127, -128, -1});
  CHECK(codes(DType::kU8, {0x7f, 0x80, 0xff}, 3) == std::vector<std::int32_t>{127, 128, 255});
  CHECK(codes(DType::kI16, {0x02, 0x01, 0xff, 0xff}, 2) == std::vector<std::int32_t>{258, -1});
  CHECK(codes(DType::kI32, {0x04, 0x03, 0x02, 0xff}, 1) == std::vector<std::int32_t>{-0xfdfcfc});
}

TEST_CASE("a raw tensor of the wrong size is the caller's fault") {
  CHECK(error_of([] {
          to_real(raw_of(DType::kF32, {2}, {0, 0, 0, 0}), "t");
        }) == "invalid_argument: [raw tensor] t: 4 bytes for F32 [2]");
  CHECK(error_of([] { to_codes(raw_of(DType::kI8, {-1}, {}), "t"); }).starts_with("invalid_argument"));
}

TEST_CASE("to_raw keeps the values") {
  const Tensor x = random_tensor({3, 5}, 1);
  const Tensor y = to_real(to_raw_f32(x), "t");
  CHECK(difference(y, x, 0, sizeof(real) == 4 ? 0 : 1e-7) == "");
}

TEST_CASE("codes are written as the smallest type that holds all of their range") {
  const std::tuple<std::int32_t, std::int32_t, DType> cases[] = {{-127, 127, DType::kI8},
                                                                 {-128, 7, DType::kI8},
                                                                 {0, 255, DType::kU8},
                                                                 {-32767, 32767, DType::kI16},
                                                                 {0, 65535, DType::kI32}};
  for (const auto& [low, high, dtype] : cases) {
    const TensorI32 q({3}, std::vector<std::int32_t>{low, high, (low + high) / 2});
    const RawTensor raw = to_raw_codes(q, low, high);
    CHECK(raw.dtype == dtype);
    const TensorI32 r = to_codes(raw, "t");
    CHECK(std::equal(q.values().begin(), q.values().end(), r.values().begin()));
  }
  CHECK(error_of([] { to_raw_codes(TensorI32({1}, 128), -127, 127); }) ==
        "invalid_argument: [to_raw_codes] code 128 outside of -127 .. 127");
}

TEST_CASE("type names and sizes") {
  CHECK(std::string(dtype_name(DType::kBF16)) == "BF16");
  CHECK(std::string(dtype_name(DType::kBool)) == "BOOL");
  CHECK(dtype_size(DType::kF64) == 8);
  CHECK(dtype_size(DType::kI16) == 2);
  CHECK(dtype_size(DType::kBool) == 1);
}

TEST_CASE("byte_count does not overflow") {
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  CHECK(byte_count(DType::kF32, {}) == 4);
  CHECK(byte_count(DType::kF64, {3, 0, 5}) == 0);
  CHECK(byte_count(DType::kI8, {kHuge}) == kHuge);
  CHECK(!byte_count(DType::kI16, {kHuge}));
  CHECK(!byte_count(DType::kI8, {kHuge, kHuge, 0}));  // as element_count, which stops at the first product
  CHECK(byte_count(DType::kI8, {0, kHuge, kHuge}) == 0);
  CHECK(!byte_count(DType::kI8, {-1}));
}

TEST_CASE("is_utf8 knows the limits of each length") {
  for (const char* good : {"", "weight", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    CHECK_MESSAGE(is_utf8(good), in_quotes(good));
  for (const char* bad : {"\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82",
                          "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff"})
    CHECK_MESSAGE(!is_utf8(bad), in_quotes(bad));
}

TEST_CASE("quoted text is short and on one line") {
  CHECK(in_quotes("conv.weight") == "\"conv.weight\"");
  CHECK(in_quotes("a\n\x1b[2J") == "\"a\\x0a\\x1b[2J\"");
  CHECK(in_quotes("\xc3\xa9") == "\"\xc3\xa9\"");
  CHECK(in_quotes("\xff") == "\"\\xff\"");
  CHECK(in_quotes(std::string(1000, 'x')) == "\"" + std::string(100, 'x') + "...\"");
  CHECK(in_quotes(std::string(99, 'x') + "\xc3\xa9") == "\"" + std::string(99, 'x') + "...\"");
}
