#include <algorithm>
#include <cmath>

#include "tensor/ops.h"

namespace qhv {
namespace {

void check(const Tensor& logits, const std::vector<int>& labels, double smoothing) {
  require(logits.rank() == 2 && logits.dim(1) > 0 && logits.dim(0) == std::int64_t(labels.size()),
          "cross_entropy", "logits of shape ", logits.shape(), " for ", labels.size(), " labels");
  for (const int label : labels)
    require(label >= 0 && label < logits.dim(1), "cross_entropy", "label ", label, " of ", logits.dim(1),
            " classes");
  require(smoothing >= 0 && smoothing < 1, "cross_entropy", "label smoothing ", smoothing,
          " is not in [0, 1)");
}

/// log of the sum of exp, shifted by the largest.
double log_sum_exp(const real* row, std::int64_t count) {
  const double largest = *std::max_element(row, row + count);
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += std::exp(row[i] - largest);
  return largest + std::log(sum);
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const std::vector<int>& labels, double smoothing) {
  check(logits, labels, smoothing);
  const std::int64_t classes = logits.dim(1);
  double total = 0;
  for (std::size_t n = 0; n < labels.size(); ++n) {
    const real* row = logits.data() + std::int64_t(n) * classes;
    double mean = 0;
    for (std::int64_t i = 0; i < classes; ++i) mean += row[i];
    mean /= double(classes);
    total += log_sum_exp(row, classes) - (1 - smoothing) * row[labels[n]] - smoothing * mean;
  }
  return Tensor(Shape{}, real(total / double(std::max<std::size_t>(1, labels.size()))));
}

Tensor cross_entropy_backward(const Tensor& dy, const Tensor& logits, const std::vector<int>& labels,
                              double smoothing) {
  check(logits, labels, smoothing);
  require(dy.shape() == Shape{}, "cross_entropy_backward", "gradient of shape ", dy.shape(), " of a scalar");
  const std::int64_t classes = logits.dim(1);
  const double factor = dy[0] / double(std::max<std::size_t>(1, labels.size()));
  Tensor dx = Tensor::uninitialized(logits.shape());
  for (std::size_t n = 0; n < labels.size(); ++n) {
    const std::int64_t start = std::int64_t(n) * classes;
    const double log_sum = log_sum_exp(logits.data() + start, classes);
    for (std::int64_t i = 0; i < classes; ++i) {
      const double target = (i == labels[n] ? 1 - smoothing : 0) + smoothing / double(classes);
      dx[start + i] = real(factor * (std::exp(logits[start + i] - log_sum) - target));
    }
  }
  return dx;
}

}  // namespace qhv
