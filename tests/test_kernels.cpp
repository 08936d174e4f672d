// The float kernels of every table that this CPU supports, against sums in double. Tolerances are those of a
// chain of rounded operations: terms * 2^-24 * the sum of magnitudes, with a factor of 4 for the activation.
#include <cmath>
#include <doctest/doctest.h>

#include "tensor/exp.h"
#include "tensor/kernels/packed_matrix.h"
#include "tensor/ops.h"
#include "tests/support.h"

using namespace qhv;

namespace {

constexpr double kEps = 1.0 / (1 << 24);

std::vector<const FloatKernels*> supported() {
  std::vector<const FloatKernels*> tables;
  for (const FloatKernels* table : float_kernel_tables())
    if (table->is_supported()) tables.push_back(table);
  return tables;
}

double silu_of(double x) { return x / (1 + std::exp(-x)); }

/// Empty, or the first element that is further off than its tolerance.
std::string mismatch(const float* actual, const std::vector<double>& expected,
                     const std::vector<double>& tolerance) {
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (!(std::abs(double(actual[i]) - expected[i]) <= tolerance[i]))
      return concat("element ", i, ": ", actual[i], " instead of ", expected[i], " +- ", tolerance[i]);
  return "";
}

struct GemmCase {
  std::int64_t rows, depth, columns, segments = 1;
  bool residual = false, scattered = false;
  Activation activation = Activation::kNone;
};

std::string check_gemm(const FloatKernels& kernels, const GemmCase& c) {
  const std::int64_t row_size = c.depth * c.segments + 3;  // segments with a gap of 3 / segments in between
  const std::int64_t gap = c.segments > 1 ? 1 : 0, segment_stride = c.depth + gap;
  const Tensor x = test::random_tensor({c.rows, row_size + gap * c.segments}, 1, -1, 1),
               w = test::random_tensor({c.segments * c.depth, c.columns}, 2, -1, 1),
               b = test::random_tensor({c.columns}, 3, -1, 1),
               r = test::random_tensor({c.rows, c.columns}, 4, -1, 1);
  const PackedMatrix packed = pack_matrix(
      kernels, c.segments * c.depth, c.columns,
      [&](std::int64_t k, std::int64_t n) { return w[k * c.columns + n]; }, b.data());
  std::vector<std::int32_t> starts;  // rows in reverse
  for (std::int64_t m = 0; m < c.rows; ++m) starts.push_back(std::int32_t((c.rows - 1 - m) * x.dim(1)));
  const float guard = 77;
  Tensor y({c.rows * c.columns + 16}, guard);
  kernels.gemm({.src = x.data(),
                .src_stride = x.dim(1),
                .src_rows = c.scattered ? starts.data() : nullptr,
                .segments = c.segments,
                .segment_stride = segment_stride,
                .segment_depth = c.depth,
                .panels = packed.panels.data(),
                .panel_count = int(packed.panels.size()),
                .dst = y.data(),
                .dst_stride = c.columns,
                .residual = c.residual ? r.data() : nullptr,
                .residual_stride = c.columns,
                .activation = c.activation},
               0, c.rows);
  std::vector<double> expected, tolerance;
  for (std::int64_t m = 0; m < c.rows; ++m)
    for (std::int64_t n = 0; n < c.columns; ++n) {
      const std::int64_t row = c.scattered ? c.rows - 1 - m : m;
      double sum = b[n], magnitude = std::abs(double(b[n]));
      for (std::int64_t k = 0; k < c.segments * c.depth; ++k) {
        const double term = double(x[row * x.dim(1) + k / c.depth * segment_stride + k % c.depth]) *
                            double(w[k * c.columns + n]);
        sum += term;
        magnitude += std::abs(term);
      }
      if (c.activation == Activation::kSilu) sum = silu_of(sum);
      if (c.residual) sum += double(r[m * c.columns + n]);
      expected.push_back(sum);
      tolerance.push_back(4 * kEps * (double(c.segments * c.depth) + 2) * (magnitude + 1));
    }
  for (std::int64_t i = y.size() - 16; i < y.size(); ++i)
    if (y[i] != guard) return "wrote behind the result";
  return mismatch(y.data(), expected, tolerance);
}

}  // namespace

TEST_CASE("kernels: products of all widths, heights and depths") {
  for (const FloatKernels* kernels : supported()) {
    CAPTURE(kernels->name);
    for (const std::int64_t columns : {1, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 33, 48, 64, 65, 80, 129, 144})
      for (const std::int64_t rows : {1, 2, 5, 11, 12, 13, 25, 100}) {
        CAPTURE(columns);
        CAPTURE(rows);
        CHECK(check_gemm(*kernels, {.rows = rows, .depth = 1 + columns % 19, .columns = columns}) == "");
      }
    CHECK(check_gemm(*kernels, {.rows = 700, .depth = 500, .columns = 40}) == "");  // several blocks of rows
    for (const bool residual : {false, true})
      for (const Activation activation : {Activation::kNone, Activation::kSilu})
        for (const std::int64_t columns : {5, 24, 36})
          CHECK(check_gemm(*kernels, {.rows = 29,
                                      .depth = 9,
                                      .columns = columns,
                                      .segments = 3,
                                      .residual = residual,
                                      .scattered = true,
                                      .activation = activation}) == "");
  }
}

TEST_CASE("kernels: depthwise convolutions of all shapes") {
  for (const FloatKernels* kernels : supported())
    for (const std::int64_t channels : {1, 5, 16, 24, 37})
      for (const std::int64_t stride : {1, 2})
        for (const std::int64_t height : {1, 2, 3, 6})
          for (const std::int64_t width : {1, 2, 3, 4, 5, 8, 13}) {
            CAPTURE(kernels->name);
            CAPTURE(channels);
            CAPTURE(stride);
            CAPTURE(height);
            CAPTURE(width);
            const Tensor x = test::random_tensor({height, width, channels}, 1, -1, 1),
                         w = test::random_tensor({9, channels}, 2, -1, 1),
                         b = test::random_tensor({channels}, 3, -1, 1);
            const std::int64_t out_height = (height - 1) / stride + 1, out_width = (width - 1) / stride + 1;
            Tensor y({out_height, out_width, channels});
            kernels->depthwise({.src = x.data(),
                                .src_period = height,
                                .dst = y.data(),
                                .weights = w.data(),
                                .bias = b.data(),
                                .height = height,
                                .width = width,
                                .channels = channels,
                                .out_width = out_width,
                                .stride = stride,
                                .activation = height % 2 ? Activation::kSilu : Activation::kNone},
                               0, out_height);
            std::vector<double> expected;
            for (std::int64_t i = 0; i < y.size(); ++i) {
              const std::int64_t c = i % channels, ox = i / channels % out_width,
                                 oy = i / channels / out_width;
              double sum = b[c];
              for (std::int64_t k = 0; k < 9; ++k) {
                const std::int64_t iy = oy * stride + k / 3 - 1, ix = ox * stride + k % 3 - 1;
                if (iy >= 0 && iy < height && ix >= 0 && ix < width)
                  sum += double(x.at({iy, ix, c})) * double(w.at({k, c}));
              }
              expected.push_back(height % 2 ? silu_of(sum) : sum);
            }
            CHECK(mismatch(y.data(), expected, std::vector(expected.size(), 4 * kEps * 11 * 10)) == "");
          }
}

TEST_CASE("kernels: rows") {
  for (const FloatKernels* kernels : supported()) {
    CAPTURE(kernels->name);
    for (const std::int64_t count : {1, 3, 15, 16, 17, 40, 1500}) {
      CAPTURE(count);
      const std::size_t n = std::size_t(count);
      const Tensor x = test::random_tensor({count}, 1, -6, 6), y = test::random_tensor({count}, 2, -6, 6);
      std::vector<double> expected(n), tolerance(n);

      Tensor out({count});
      kernels->silu(x.data(), out.data(), count);
      for (std::size_t i = 0; i < n; ++i) {
        expected[i] = silu_of(double(x[std::int64_t(i)]));
        tolerance[i] = 8 * kEps * std::abs(expected[i]);
      }
      CHECK(mismatch(out.data(), expected, tolerance) == "");

      Tensor wide = x;
      for (real& v : wide.values()) v *= 20;
      kernels->silu(wide.data(), out.data(), count);
      for (std::size_t i = 0; i < n; ++i) {
        const double v = double(wide[std::int64_t(i)]);
        expected[i] = silu_of(v);
        tolerance[i] = (8 * kEps + 2 * kEps * std::abs(v)) * std::abs(expected[i]) +
                       1e-34;  // rounded exponent; clamped at 88
      }
      CHECK(mismatch(out.data(), expected, tolerance) == "");

      kernels->add(x.data(), y.data(), out.data(), count);
      for (std::int64_t i = 0; i < count; ++i) CHECK(out[i] == x[i] + y[i]);

      double sum = 0, squares = 0;
      for (std::int64_t i = 0; i < count; ++i) {
        sum += double(x[i]);
        squares += std::pow(double(x[i]) - 0.5, 2);
      }
      // A stretch of 1024 has at most 16 terms in each lane of the widest table, 64 in the narrowest.
      CHECK(std::abs(kernels->sum(x.data(), count) - sum) <= 70 * kEps * 6 * double(count));
      CHECK(std::abs(kernels->sum_of_squares(x.data(), 0.5f, count) - squares) <= 70 * kEps * squares);

      kernels->gate(x.data(), y.data(), out.data(), count);
      for (std::int64_t i = 0; i < count; ++i) CHECK(out[i] == (x[i] > 0 ? x[i] : 0) * y[i]);

      const Tensor weight = test::random_tensor({count}, 3, -1, 1),
                   bias = test::random_tensor({count}, 4, -1, 1);
      const Tensor rows = test::random_tensor({2, count}, 5, -1, 1);
      Tensor normal({2, count});
      kernels->layer_norm(rows.data(), normal.data(), 2, count, weight.data(), bias.data(), 1e-5f);
      if (count > 1) CHECK(test::difference(normal, layer_norm(rows, weight, bias, 1e-5), 2e-5) == "");
      kernels->scale_shift(rows.data(), normal.data(), 2, count, weight.data(), bias.data());
      for (std::int64_t i = 0; i < 2 * count; ++i)
        CHECK(std::abs(normal[i] - (rows[i] * weight[i % count] + bias[i % count])) <= 2 * kEps);

      Tensor scaled = rows;
      for (real& v : scaled.values()) v *= 6;
      const Tensor probabilities = softmax(scaled);
      const std::int64_t width = 2 * kernels->lanes;
      Tensor columns({count, width}), factors_of({width});
      for (std::int64_t i = 0; i < columns.size(); ++i) columns[i] = 3 * rows[i / width + i % 2 * count];
      kernels->softmax_columns(columns.data(), count, width, 2, factors_of.data());
      for (std::int64_t i = 0; i < columns.size(); ++i) {
        const double p = double(probabilities[i / width + i % 2 * count]);
        CHECK(std::abs(double(columns[i] * factors_of[i % width]) - p) <= 100 * kEps * p);
      }

      const std::int32_t offsets[] = {std::int32_t(count), 0, std::int32_t(count)};
      const float factors[] = {0.5f, 2, -1};
      kernels->weighted_sum(rows.data(), offsets, factors, 3, out.data(), count);
      for (std::int64_t i = 0; i < count; ++i)
        CHECK(std::abs(out[i] - (2 * rows[i] - 0.5f * rows[count + i])) <= 8 * kEps);
    }
  }
}

TEST_CASE("kernels: activations and softmax with their adjoints") {
  for (const FloatKernels* kernels : supported())
    for (const std::int64_t width : {1, 3, 8, 15, 16, 17, 40, 256}) {
      CAPTURE(kernels->name);
      CAPTURE(width);
      const std::size_t n = std::size_t(2 * width);
      const Tensor x = test::random_tensor({2, width}, 1, -6, 6), dy = test::random_tensor({2, width}, 2);
      std::vector<double> expected(n), tolerance(n);

      Tensor out = dy;
      kernels->silu_backward(x.data(), out.data(), 2 * width);
      for (std::size_t i = 0; i < n; ++i) {
        const double v = x[std::int64_t(i)], s = 1 / (1 + std::exp(-v)), g = dy[std::int64_t(i)];
        expected[i] = g * s * (1 + v * (1 - s));
        tolerance[i] = 16 * kEps * std::abs(g) * s * (1 + std::abs(v));
      }
      CHECK(mismatch(out.data(), expected, tolerance) == "");

      Tensor y({2, width});
      kernels->softmax_rows(x.data(), y.data(), 2, width);
      kernels->softmax_backward(dy.data(), y.data(), out.data(), 2, width);
      std::vector<double> dx(n), dx_tolerance(n);
      for (std::int64_t row = 0; row < 2; ++row) {
        double sum = 0, inner = 0, magnitude = 0;
        for (std::int64_t i = row * width; i < (row + 1) * width; ++i) {
          sum += std::exp(double(x[i]));
          inner += double(dy[i]) * double(y[i]);
          magnitude += std::abs(double(dy[i]) * double(y[i]));
        }
        for (std::int64_t i = row * width; i < (row + 1) * width; ++i) {
          // The exponent is rounded at a magnitude of up to 12; a sum of positive terms loses one u for each.
          expected[std::size_t(i)] = std::exp(double(x[i])) / sum;
          tolerance[std::size_t(i)] = (double(width) + 24) * kEps * expected[std::size_t(i)];
          dx[std::size_t(i)] = double(y[i]) * (double(dy[i]) - inner);
          dx_tolerance[std::size_t(i)] =
              (double(width) + 4) * kEps * double(y[i]) * (std::abs(double(dy[i])) + magnitude);
        }
      }
      CHECK(mismatch(y.data(), expected, tolerance) == "");
      CHECK(mismatch(out.data(), dx, dx_tolerance) == "");
    }
}

TEST_CASE("kernels: sums for gradients, and taps over planes") {
  for (const FloatKernels* kernels : supported())
    for (const std::int64_t width : {1, 5, 8, 16, 19, 32, 70}) {
      CAPTURE(kernels->name);
      CAPTURE(width);
      const std::int64_t rows = 37, step = width + 5;
      const Tensor x = test::random_tensor({rows + 3, step}, 1), dy = test::random_tensor({rows, width}, 2);
      double sums[2], expected_dy = 0, expected_dy_x = 0;
      kernels->gradient_sums(dy.data(), x.data(), 0.25, dy.size(), &sums[0], &sums[1]);
      for (std::int64_t i = 0; i < dy.size(); ++i) {
        expected_dy += double(dy[i]);
        expected_dy_x += double(dy[i]) * (double(x[i]) - 0.25);
      }
      const double bound = (1024 / 4 + 4) * kEps * 1.25 * double(dy.size());  // as for sums of a stretch
      CHECK(std::abs(sums[0] - expected_dy) <= bound);
      CHECK(std::abs(sums[1] - expected_dy_x) <= bound);

      const PlaneRows plane{rows, width, step, width + 2};
      Tensor copy({rows, width + 2}, 3), sum({rows, width + 2}, 3);
      kernels->copy_rows(x.data(), copy.data(), plane);
      kernels->add_rows(x.data(), sum.data(), plane);
      int different = 0;
      for (std::int64_t i = 0; i < copy.size(); ++i) {
        const std::int64_t r = i / (width + 2), column = i % (width + 2);
        const float v = x[r * step + column];
        different += copy[i] != (column < width ? v : 3) || sum[i] != (column < width ? 3 + v : 3);
      }
      CHECK(different == 0);

      std::vector<Tap<float>> taps;
      for (int t = 0; t < 11; ++t) taps.push_back({t / 4 * step + t % 4, 0.1f * float(t) - 0.4f});
      Tensor y({rows, width + 1}, 5);
      kernels->weigh_taps(x.data(), taps.data(), 11, 0.5f, y.data(), {rows, width, step, width + 1});
      std::vector<double> products(taps.size(), 1.0), expected(products);
      kernels->add_products(dy.data(), x.data(), taps.data(), 11, products.data(),
                            {rows, width, step, width});
      int wrong = 0;
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t i = 0; i < width; ++i) {
          double sum = 0.5;
          for (std::size_t t = 0; t < taps.size(); ++t) {
            const double v = x[r * step + i + taps[t].offset];
            sum += double(taps[t].weight) * v;
            expected[t] += double(dy.at({r, i})) * v;
          }
          wrong += std::abs(double(y.at({r, i})) - sum) > 12 * kEps * 5;
        }
        wrong += y.at({r, width}) != 5;
      }
      CHECK(wrong == 0);
      CHECK(mismatch(Tensor({11}, std::vector<real>(products.begin(), products.end())).data(), expected,
                     std::vector(taps.size(), double(rows * width + 2) * kEps * double(rows * width))) == "");
    }
}

TEST_CASE("kernels: transposes of all sizes") {
  for (const FloatKernels* kernels : supported())
    for (const std::int64_t rows : {1, 4, 7, 16, 21, 33})
      for (const std::int64_t columns : {1, 4, 9, 16, 36}) {
        const Tensor x = test::random_tensor({rows, columns + 2}, 1);
        std::vector<std::int32_t> offsets;  // rows in reverse, the first column left out
        for (std::int64_t r = 0; r < rows; ++r)
          offsets.push_back(std::int32_t((rows - 1 - r) * (columns + 2) + 1));
        const std::int64_t stride = rows + 3;
        Tensor y({columns, stride}, 5);
        kernels->transpose(x.data(), offsets.data(), rows, columns, y.data(), stride);
        int wrong = 0;
        for (std::int64_t c = 0; c < columns; ++c)
          for (std::int64_t r = 0; r < stride; ++r)
            wrong += y.at({c, r}) != (r < rows ? x.at({rows - 1 - r, c + 1}) : real(5));
        CAPTURE(rows);
        CAPTURE(columns);
        CHECK(wrong == 0);
      }
}

TEST_CASE("kernels: columns scaled and scattered") {
  for (const FloatKernels* kernels : supported())
    for (const std::int64_t rows : {1, 4, 7, 16, 21, 36})
      for (const std::int64_t columns : {1, 4, 9, 16, 36}) {
        const Tensor x = test::random_tensor({rows, columns + 2}, 1), f = test::random_tensor({columns}, 2);
        std::vector<std::int32_t> offsets;  // in reverse, with a gap
        for (std::int64_t c = 0; c < columns; ++c)
          offsets.push_back(std::int32_t((columns - 1 - c) * (rows + 3)));
        Tensor y({columns, rows + 3}, 5);
        kernels->scatter_columns(x.data(), columns + 2, rows, columns, f.data(), offsets.data(), y.data());
        int wrong = 0;
        for (std::int64_t c = 0; c < columns; ++c)
          for (std::int64_t r = 0; r < rows + 3; ++r)
            wrong += y.at({columns - 1 - c, r}) != (r < rows ? x.at({r, c}) * f[c] : real(5));
        CAPTURE(kernels->name);
        CAPTURE(rows);
        CAPTURE(columns);
        CHECK(wrong == 0);
      }
}

TEST_CASE("kernels: pixels of three channels side by side") {
  for (const FloatKernels* kernels : supported())
    for (const std::int64_t count : {1, 15, 16, 50}) {
      const Tensor x = test::random_tensor({3, count + 2}, 1);
      Tensor y({count + 1, 3}, 5);
      kernels->interleave3(x.data(), count + 2, count, y.data());
      int wrong = 0;
      for (std::int64_t i = 0; i < y.size(); ++i)
        wrong += y[i] != (i < 3 * count ? x.at({i % 3, i / 3}) : real(5));
      CHECK(wrong == 0);
    }
}

TEST_CASE("kernels: panels cover all columns, and only the last one overlaps") {
  for (const FloatKernels* kernels : supported())
    for (std::int64_t columns = 1; columns < 300; ++columns) {
      std::int64_t covered = 0;
      for (const GemmPanel& panel : panels_of(*kernels, columns)) {
        CHECK(panel.start <= covered);
        CHECK(panel.vectors <= kernels->max_vectors);
        covered = panel.start + panel.columns;
      }
      CHECK(covered == columns);
    }
}

TEST_CASE("kernels: tables by name") {
  CHECK(&find_float_kernels(best_float_kernels().name) == &best_float_kernels());
  CHECK(test::error_of([] { find_float_kernels("mmx"); }).find("no kernels \"mmx\" in this build (it has ") !=
        std::string::npos);
  for (const FloatKernels* table : float_kernel_tables())
    if (!table->is_supported())
      CHECK(test::error_of([&] { find_float_kernels(table->name); }).find("cannot execute") !=
            std::string::npos);
}
