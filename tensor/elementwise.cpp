#include "tensor/exp.h"
#include "tensor/ops.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

// In two loops: in one, GCC 12 gives each clamp inside of exp a branch of its own and computes element by
// element.
QHV_VECTORIZE void silu_into(const real* src, real* dst, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = exp_real(-src[i]);
  for (std::int64_t i = 0; i < count; ++i) dst[i] = src[i] / (real(1) + dst[i]);
}

QHV_VECTORIZE void relu_into(const real* src, real* dst, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = src[i] < 0 ? real(0) : src[i];
}

QHV_VECTORIZE void add_into(const real* a, const real* b, real* dst, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = a[i] + b[i];
}

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

  // Walk the rows of the result; a row's start in an operand follows from its index, leaving out broadcast
  // axes.
  const int last = y.rank() - 1;
  const std::int64_t width = y.rank() ? y.dim(last) : 1;
  const auto row_start = [&](const Tensor& operand, std::int64_t row) {
    std::int64_t start = 0, step = y.rank() ? operand.dim(last) : 1;
    for (int axis = last - 1; axis >= 0; --axis) {
      const std::int64_t index = row % y.dim(axis);
      row /= y.dim(axis);
      if (operand.dim(axis) != 1) start += index * step;
      step *= operand.dim(axis);
    }
    return start;
  };
  const bool move_a = y.rank() && a.dim(last) != 1, move_b = y.rank() && b.dim(last) != 1;
  for (std::int64_t row = 0; row < y.size() / width; ++row) {
    const real *pa = a.data() + row_start(a, row), *pb = b.data() + row_start(b, row);
    real* dst = y.data() + row * width;
    for (std::int64_t i = 0; i < width; ++i) dst[i] = pa[move_a ? i : 0] * pb[move_b ? i : 0];
  }
  return y;
}

}  // namespace qhv
