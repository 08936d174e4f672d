#include "tensor/gemm.h"
#include "tensor/ops.h"

namespace qhv {

Tensor linear(const Tensor& x, const Tensor& w, const Tensor* b) {
  require(w.rank() == 2 && x.rank() >= 1 && x.dim(-1) == w.dim(1), "linear", "input ", x.shape(),
          " and weight ", w.shape());
  const std::int64_t k = w.dim(1), n = w.dim(0);
  require(!b || b->shape() == Shape{n}, "linear", "bias ", b ? b->shape() : Shape{}, " for ", n, " outputs");
  Shape shape = x.shape();
  shape.back() = n;
  Tensor y = Tensor::uninitialized(shape);
  const std::int64_t rows = n ? y.size() / n : 0;
  if (b)
    for (std::int64_t row = 0; row < rows; ++row) std::copy_n(b->data(), n, y.data() + row * n);
  gemm({.m = rows, .n = n, .k = k, .transpose_b = true, .accumulate = b != nullptr}, x.data(), w.data(),
       y.data());
  return y;
}

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_b, double scale) {
  const int rank = a.rank();
  const auto mismatch = [&] {
    return concat("operands ", a.shape(), " and ", b.shape(), transpose_b ? "^T" : "");
  };
  require(rank >= 2 && b.rank() == rank, "matmul", mismatch());
  for (int axis = 0; axis < rank - 2; ++axis) require(a.dim(axis) == b.dim(axis), "matmul", mismatch());
  const std::int64_t m = a.dim(-2), k = a.dim(-1), n = b.dim(transpose_b ? -2 : -1);
  require(b.dim(transpose_b ? -1 : -2) == k, "matmul", mismatch());

  Shape shape = a.shape();
  shape.back() = n;
  Tensor y = Tensor::uninitialized(shape);
  const std::int64_t batch = m && n ? y.size() / (m * n) : 0;
  for (std::int64_t i = 0; i < batch; ++i)
    gemm({.m = m, .n = n, .k = k, .transpose_b = transpose_b}, a.data() + i * m * k, b.data() + i * k * n,
         y.data() + i * m * n);
  if (scale != 1)
    for (real& v : y.values()) v *= real(scale);
  return y;
}

}  // namespace qhv
