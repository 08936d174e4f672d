// The loops in which operators on values spend their time, matrix products (gemm.h) left out: by the kernels
// of kernels/kernels.h in float (loops_kernels.cpp), in plain C++ in double (loops_plain.cpp). Internal to
// the operators of ops.h, which check shapes.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/kernels/planes.h"
#include "tensor/tensor.h"

namespace qhv {

/// dst = silu(src)
void silu_into(const real* src, real* dst, std::int64_t count);
/// dx *= silu'(x)
void silu_backward_into(const real* x, real* dx, std::int64_t count);

/// Softmax of each row of `width` elements, and dx = y (dy - <dy, y>) for each row.
void softmax_into(const real* src, real* dst, std::int64_t rows, std::int64_t width);
void softmax_backward_into(const real* dy, const real* y, real* dx, std::int64_t rows, std::int64_t width);

double sum_of(const real* x, std::int64_t count);

/// Sums over elements of one channel.
struct PlaneSums {
  double dy = 0, dy_x = 0;  // of dy, and of dy * (x - mean)
};
PlaneSums plane_sums(const real* dy, const real* x, std::int64_t count, double mean);

/// Rows of a plane, copied or added to those of dst.
void copy_rows(const real* src, real* dst, const PlaneRows& rows);
void add_rows(const real* src, real* dst, const PlaneRows& rows);

/// dst[i] = bias + sum over taps of weight * src[offset + i], in each row.
void weigh_taps(const real* src, std::span<const Tap<real>> taps, real bias, real* dst,
                const PlaneRows& rows);
/// sums[t] += sum over rows and i of dy[i] * src[taps[t].offset + i]; dy has the rows of `dst`.
void add_products(const real* dy, const real* src, std::span<const Tap<real>> taps, double* sums,
                  const PlaneRows& rows);

}  // namespace qhv
