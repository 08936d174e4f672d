#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/ops.h"

namespace qhv {
std::vector<ResizeTap> resize_taps(std::int64_t in, std::int64_t out, bool align_corners) {
  std::vector<ResizeTap> result;
  for (std::int64_t i = 0; i < out; ++i) {
    double position = 0;
    if (!align_corners)
      position = std::max(0.0, (double(i) + 0.5) * double(in) / double(out) - 0.5);
    else if (out > 1)
      position = double(i) * double(in - 1) / double(out - 1);
    const std::int64_t low = std::min(std::int64_t(position), in - 1);
    result.push_back({low, std::min(low + 1, in - 1), position - double(low)});
  }
  return result;
}

Tensor resize_bilinear(const Tensor& x, std::int64_t height, std::int64_t width, bool align_corners) {
  require(x.rank() == 4 && x.dim(2) > 0 && x.dim(3) > 0 && height > 0 && width > 0, "resize_bilinear",
          x.shape(), " to ", height, " x ", width);
  const std::vector<ResizeTap> rows = resize_taps(x.dim(2), height, align_corners),
                               columns = resize_taps(x.dim(3), width, align_corners);
  Tensor y = Tensor::uninitialized({x.dim(0), x.dim(1), height, width});
  real* dst = y.data();
  for (std::int64_t plane = 0; plane < x.dim(0) * x.dim(1); ++plane) {
    const real* src = x.data() + plane * x.dim(2) * x.dim(3);
    for (const ResizeTap& row : rows) {
      const real *upper = src + row.low * x.dim(3), *lower = src + row.high * x.dim(3);
      for (const ResizeTap& column : columns) {
        const double v = column.high_weight;
        const double above = upper[column.low] * (1 - v) + upper[column.high] * v;
        const double below = lower[column.low] * (1 - v) + lower[column.high] * v;
        *dst++ = real(above * (1 - row.high_weight) + below * row.high_weight);
      }
    }
  }
  return y;
}

Tensor resize_bilinear_backward(const Tensor& dy, std::int64_t height, std::int64_t width,
                                bool align_corners) {
  require(dy.rank() == 4 && dy.dim(2) > 0 && dy.dim(3) > 0 && height > 0 && width > 0,
          "resize_bilinear_backward", "gradient ", dy.shape(), " for ", height, " x ", width);
  const std::vector<ResizeTap> rows = resize_taps(height, dy.dim(2), align_corners),
                               columns = resize_taps(width, dy.dim(3), align_corners);
  Tensor dx = Tensor::uninitialized({dy.dim(0), dy.dim(1), height, width});
  std::vector<double> plane(std::size_t(height * width)), line(static_cast<std::size_t>(width));
  const real* src = dy.data();
  for (std::int64_t i = 0; i < dy.dim(0) * dy.dim(1); ++i) {
    std::fill(plane.begin(), plane.end(), 0.0);
    for (const ResizeTap& row : rows) {
      std::fill(line.begin(), line.end(), 0.0);
      for (const ResizeTap& column : columns) {
        const double gradient = *src++;
        line[std::size_t(column.low)] += gradient * (1 - column.high_weight);
        line[std::size_t(column.high)] += gradient * column.high_weight;
      }
      double *upper = plane.data() + row.low * width, *lower = plane.data() + row.high * width;
      for (std::size_t x = 0; x < line.size(); ++x) upper[x] += line[x] * (1 - row.high_weight);
      for (std::size_t x = 0; x < line.size(); ++x) lower[x] += line[x] * row.high_weight;
    }
    std::copy(plane.begin(), plane.end(), dx.data() + i * height * width);
  }
  return dx;
}

}  // namespace qhv
