#include <algorithm>
#include <cmath>
#include <numeric>

#include "tensor/loops.h"
#include "tensor/ops.h"

namespace qhv {
Tensor sum_last(const Tensor& x) {
  require(x.rank() >= 1, "sum_last", "input of shape ", x.shape());
  const std::int64_t width = x.dim(-1);
  Shape shape = x.shape();
  shape.back() = 1;
  Tensor y(shape);
  for (std::int64_t row = 0; row < y.size(); ++row) y[row] = real(sum_of(x.data() + row * width, width));
  return y;
}

Tensor global_avg_pool(const Tensor& x) {
  require(x.rank() == 4 && x.dim(2) * x.dim(3) > 0, "global_avg_pool", "input of shape ", x.shape());
  const std::int64_t area = x.dim(2) * x.dim(3);
  Tensor y({x.dim(0), x.dim(1)});
  for (std::int64_t i = 0; i < y.size(); ++i) y[i] = real(sum_of(x.data() + i * area, area) / double(area));
  return y;
}

Tensor sum_last_backward(const Tensor& dy, const Shape& x_shape) {
  Shape shape = x_shape;
  if (!shape.empty()) shape.back() = 1;
  require(!shape.empty() && dy.shape() == shape, "sum_last_backward", "gradient ", dy.shape(), " for input ",
          x_shape);
  Tensor dx = Tensor::uninitialized(x_shape);
  for (std::int64_t row = 0; row < dy.size(); ++row)
    std::fill_n(dx.data() + row * x_shape.back(), x_shape.back(), dy[row]);
  return dx;
}

Tensor global_avg_pool_backward(const Tensor& dy, const Shape& x_shape) {
  require(x_shape.size() == 4 && x_shape[2] * x_shape[3] > 0 && dy.shape() == Shape{x_shape[0], x_shape[1]},
          "global_avg_pool_backward", "gradient ", dy.shape(), " for input ", x_shape);
  const std::int64_t area = x_shape[2] * x_shape[3];
  Tensor dx = Tensor::uninitialized(x_shape);
  for (std::int64_t i = 0; i < dy.size(); ++i)
    std::fill_n(dx.data() + i * area, area, real(dy[i] / double(area)));
  return dx;
}

std::vector<std::vector<int>> top_k(const Tensor& x, int k) {
  require(x.rank() == 2 && k >= 0 && k <= x.dim(1), "top_k", k, " of shape ", x.shape());
  std::vector<std::vector<int>> best;
  std::vector<int> order(std::size_t(x.dim(1)));
  for (std::int64_t row = 0; row < x.dim(0); ++row) {
    const real* values = x.data() + row * x.dim(1);
    std::iota(order.begin(), order.end(), 0);
    const auto rank = [values](int i) { return std::isnan(values[i]) ? -HUGE_VAL : double(values[i]); };
    std::partial_sort(order.begin(), order.begin() + k, order.end(),
                      [&](int a, int b) { return rank(a) != rank(b) ? rank(a) > rank(b) : a < b; });
    best.emplace_back(order.begin(), order.begin() + k);
  }
  return best;
}

}  // namespace qhv
