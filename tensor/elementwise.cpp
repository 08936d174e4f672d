#include <algorithm>
#include <vector>

#include "tensor/loops.h"
#include "tensor/ops.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

QHV_VECTORIZE void relu_into(const real* src, real* dst, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = src[i] < 0 ? real(0) : src[i];
}

QHV_VECTORIZE void add_into(const real* a, const real* b, real* dst, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = a[i] + b[i];
}

QHV_VECTORIZE void relu_backward_into(const real* x, real* dx, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dx[i] = x[i] <= 0 ? real(0) : dx[i];
}

QHV_VECTORIZE void accumulate_into(const real* x, real* sum, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) sum[i] += x[i];
}

QHV_VECTORIZE double dot(const real* a, const real* b, std::int64_t count) {
  return sum(count, [a, b](std::int64_t i) { return double(a[i]) * double(b[i]); });
}

/// Where a row (of the last axis) of a result of shape `shape` starts in an operand: its index leaves out the
/// axes along which the operand was broadcast.
std::int64_t row_start(const Shape& operand, const Shape& shape, std::int64_t row) {
  std::int64_t start = 0, step = shape.empty() ? 1 : operand.back();
  for (std::size_t axis = shape.size(); axis-- > 1;) {
    const std::int64_t index = row % shape[axis - 1];
    row /= shape[axis - 1];
    if (operand[axis - 1] != 1) start += index * step;
    step *= operand[axis - 1];
  }
  return start;
}

/// Whether an operand has the whole last axis, of which it may have one element only.
bool moves(const Shape& operand) { return !operand.empty() && operand.back() != 1; }

}  // namespace

Tensor silu(const Tensor& x) {
  Tensor y = Tensor::uninitialized(x.shape());
  silu_into(x.data(), y.data(), x.size());
  return y;
}

Tensor relu(const Tensor& x) {
  Tensor y = Tensor::uninitialized(x.shape());
  relu_into(x.data(), y.data(), x.size());
  return y;
}

Tensor add(const Tensor& a, const Tensor& b) {
  require(a.shape() == b.shape(), "add", "shapes ", a.shape(), " and ", b.shape());
  Tensor y = Tensor::uninitialized(a.shape());
  add_into(a.data(), b.data(), y.data(), y.size());
  return y;
}

Tensor mul(const Tensor& a, const Tensor& b) {
  require(a.rank() == b.rank(), "mul", "shapes ", a.shape(), " and ", b.shape());
  Shape shape = a.shape();
  for (int axis = 0; axis < a.rank(); ++axis) {
    const std::int64_t da = a.dim(axis), db = b.dim(axis);
    require(da == db || da == 1 || db == 1, "mul", "shapes ", a.shape(), " and ", b.shape());
    shape[std::size_t(axis)] = da == 1 ? db : da;
  }
  Tensor y = Tensor::uninitialized(shape);
  if (y.size() == 0) return y;

  const std::int64_t width = y.rank() ? y.dim(-1) : 1;
  const bool move_a = moves(a.shape()), move_b = moves(b.shape());
  for (std::int64_t row = 0; row < y.size() / width; ++row) {
    const real* pa = a.data() + row_start(a.shape(), shape, row);
    const real* pb = b.data() + row_start(b.shape(), shape, row);
    real* dst = y.data() + row * width;
    for (std::int64_t i = 0; i < width; ++i) dst[i] = pa[move_a ? i : 0] * pb[move_b ? i : 0];
  }
  return y;
}

Tensor silu_backward(Tensor dy, const Tensor& x) {
  require(dy.shape() == x.shape(), "silu_backward", "gradient ", dy.shape(), " for input ", x.shape());
  silu_backward_into(x.data(), dy.data(), dy.size());
  return dy;
}

Tensor relu_backward(Tensor dy, const Tensor& x) {
  require(dy.shape() == x.shape(), "relu_backward", "gradient ", dy.shape(), " for input ", x.shape());
  relu_backward_into(x.data(), dy.data(), dy.size());
  return dy;
}

Tensor mul_backward(const Tensor& dy, const Tensor& other, const Shape& shape) {
  const auto mismatch = [&] {
    return concat("gradient ", dy.shape(), " for operands ", shape, " and ", other.shape());
  };
  require(dy.rank() == int(shape.size()) && other.rank() == dy.rank(), "mul_backward", mismatch());
  for (int axis = 0; axis < dy.rank(); ++axis) {
    const std::int64_t own = shape[std::size_t(axis)], its = other.dim(axis);
    require((own == its || own == 1 || its == 1) && dy.dim(axis) == (own == 1 ? its : own), "mul_backward",
            mismatch());
  }
  if (shape == dy.shape()) return mul(dy, other);
  Tensor dx(shape);
  if (dy.size() == 0) return dx;

  const std::int64_t width = dy.dim(-1);
  const bool move_x = moves(shape), move_other = moves(other.shape());
  std::vector<double> sums(std::size_t(dx.size()), 0.0);
  for (std::int64_t row = 0; row < dy.size() / width; ++row) {
    const real* gradient = dy.data() + row * width;
    const real* factor = other.data() + row_start(other.shape(), dy.shape(), row);
    double* dst = sums.data() + row_start(shape, dy.shape(), row);
    if (!move_x && move_other)
      *dst += dot(gradient, factor, width);
    else
      for (std::int64_t i = 0; i < width; ++i)
        dst[move_x ? i : 0] += double(gradient[i]) * double(factor[move_other ? i : 0]);
  }
  std::copy(sums.begin(), sums.end(), dx.data());
  return dx;
}

void accumulate(Tensor& sum, const Tensor& x) {
  require(sum.shape() == x.shape(), "accumulate", "shapes ", sum.shape(), " and ", x.shape());
  accumulate_into(x.data(), sum.data(), sum.size());
}

}  // namespace qhv
