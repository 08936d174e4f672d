#include <algorithm>
#include <vector>

#include "tensor/gemm.h"
#include "tensor/ops.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

Tensor scaled(Tensor x, double scale) {
  for (real& v : x.values()) v *= real(scale);
  return x;
}

/// op(a) op(b) * scale on the last two axes, the others being equal; op transposes where told to.
Tensor product(const char* op, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b,
               double scale) {
  const int rank = a.rank();
  const auto mismatch = [&] {
    return concat("operands ", a.shape(), transpose_a ? "^T" : "", " and ", b.shape(),
                  transpose_b ? "^T" : "");
  };
  require(rank >= 2 && b.rank() == rank, op, mismatch());
  for (int axis = 0; axis < rank - 2; ++axis) require(a.dim(axis) == b.dim(axis), op, mismatch());
  const std::int64_t m = a.dim(transpose_a ? -1 : -2), k = a.dim(transpose_a ? -2 : -1),
                     n = b.dim(transpose_b ? -2 : -1);
  require(b.dim(transpose_b ? -1 : -2) == k, op, mismatch());

  Shape shape = a.shape();
  shape[std::size_t(rank - 2)] = m;
  shape.back() = n;
  if (scale != 1 && a.size() < element_count(shape))  // the smaller one is scaled
    return product(op, scaled(a, scale), transpose_a, b, transpose_b, 1);
  Tensor y = Tensor::uninitialized(shape);
  const std::int64_t batch = m && n ? y.size() / (m * n) : 0;
  for (std::int64_t i = 0; i < batch; ++i)
    gemm({.m = m, .n = n, .k = k, .transpose_a = transpose_a, .transpose_b = transpose_b},
         a.data() + i * m * k, b.data() + i * k * n, y.data() + i * m * n);
  return scale == 1 ? std::move(y) : scaled(std::move(y), scale);
}

QHV_VECTORIZE void add_row(const real* row, double* sums, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) sums[i] += row[i];
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& w, const Tensor* b) {
  require(w.rank() == 2 && x.rank() >= 1 && x.dim(-1) == w.dim(1), "linear", "input ", x.shape(),
          " and weight ", w.shape());
  const std::int64_t k = w.dim(1), n = w.dim(0);
  require(!b || b->shape() == Shape{n}, "linear", "bias ", b ? b->shape() : Shape{}, " for ", n, " outputs");
  Shape shape = x.shape();
  shape.back() = n;
  Tensor y = Tensor::uninitialized(shape);
  const std::int64_t rows = n ? y.size() / n : 0;
  gemm({.m = rows, .n = n, .k = k, .transpose_b = true, .row_bias = b ? b->data() : nullptr}, x.data(),
       w.data(), y.data());
  return y;
}

Tensor linear_backward_input(const Tensor& dy, const Tensor& w) {
  require(w.rank() == 2 && dy.rank() >= 1 && dy.dim(-1) == w.dim(0), "linear_backward_input", "gradient ",
          dy.shape(), " and weight ", w.shape());
  const std::int64_t k = w.dim(1), n = w.dim(0);
  Shape shape = dy.shape();
  shape.back() = k;
  Tensor dx = Tensor::uninitialized(shape);
  gemm({.m = k ? dx.size() / k : 0, .n = k, .k = n}, dy.data(), w.data(), dx.data());
  return dx;
}

Tensor linear_backward_weight(const Tensor& dy, const Tensor& x) {
  const auto leading = [](Shape shape) {
    shape.pop_back();
    return shape;
  };
  require(dy.rank() >= 1 && x.rank() >= 1 && leading(dy.shape()) == leading(x.shape()),
          "linear_backward_weight", "gradient ", dy.shape(), " for input ", x.shape());
  const std::int64_t k = x.dim(-1), n = dy.dim(-1);
  Tensor dw = Tensor::uninitialized({n, k});
  gemm({.m = n, .n = k, .k = n ? dy.size() / n : 0, .transpose_a = true}, dy.data(), x.data(), dw.data());
  return dw;
}

Tensor linear_backward_bias(const Tensor& dy) {
  require(dy.rank() >= 1, "linear_backward_bias", "gradient ", dy.shape());
  const std::int64_t n = dy.dim(-1);
  std::vector<double> sums(std::size_t(n), 0.0);
  for (std::int64_t start = 0; start < dy.size(); start += n) add_row(dy.data() + start, sums.data(), n);
  Tensor db = Tensor::uninitialized({n});
  std::copy(sums.begin(), sums.end(), db.data());
  return db;
}

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_b, double scale) {
  return product("matmul", a, false, b, transpose_b, scale);
}

Tensor matmul_backward_a(const Tensor& dy, const Tensor& b, bool transpose_b, double scale) {
  return product("matmul_backward_a", dy, false, b, !transpose_b, scale);
}

Tensor matmul_backward_b(const Tensor& dy, const Tensor& a, bool transpose_b, double scale) {
  const char* op = "matmul_backward_b";
  return transpose_b ? product(op, dy, true, a, false, scale) : product(op, a, true, dy, false, scale);
}

}  // namespace qhv
