#include "tensor/kernels/kernels.h"
#include "tensor/loops.h"

namespace qhv {
namespace {

const FloatKernels& kernels() {
  static const FloatKernels& best = best_float_kernels();
  return best;
}

}  // namespace

void silu_into(const float* src, float* dst, std::int64_t count) { kernels().silu(src, dst, count); }

void silu_backward_into(const float* x, float* dx, std::int64_t count) {
  kernels().silu_backward(x, dx, count);
}

void softmax_into(const float* src, float* dst, std::int64_t rows, std::int64_t width) {
  kernels().softmax_rows(src, dst, rows, width);
}

void softmax_backward_into(const float* dy, const float* y, float* dx, std::int64_t rows,
                           std::int64_t width) {
  kernels().softmax_backward(dy, y, dx, rows, width);
}

double sum_of(const float* x, std::int64_t count) { return kernels().sum(x, count); }

PlaneSums plane_sums(const float* dy, const float* x, std::int64_t count, double mean) {
  PlaneSums sums;
  kernels().gradient_sums(dy, x, mean, count, &sums.dy, &sums.dy_x);
  return sums;
}

void copy_rows(const float* src, float* dst, const PlaneRows& rows) { kernels().copy_rows(src, dst, rows); }

void add_rows(const float* src, float* dst, const PlaneRows& rows) { kernels().add_rows(src, dst, rows); }

void weigh_taps(const float* src, std::span<const Tap<float>> taps, float bias, float* dst,
                const PlaneRows& rows) {
  kernels().weigh_taps(src, taps.data(), int(taps.size()), bias, dst, rows);
}

void add_products(const float* dy, const float* src, std::span<const Tap<float>> taps, double* sums,
                  const PlaneRows& rows) {
  kernels().add_products(dy, src, taps.data(), int(taps.size()), sums, rows);
}

}  // namespace qhv
