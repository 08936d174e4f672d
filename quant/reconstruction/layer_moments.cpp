#include "quant/reconstruction/layer_moments.h"

#include "quant/reconstruction/cholesky.h"
#include "tensor/conv_windows.h"
#include "tensor/ops.h"

namespace qhv {
namespace {

/// The windows of a map as columns, [groups, inputs, count].
Tensor windows_of(const Conv2d& conv, const Tensor& x) {
  const ConvGeometry& g = conv.geometry;
  const std::int64_t channels = conv.in / g.groups;
  const ConvSizes s = conv_sizes("moments", x.shape(), {conv.out, channels, g.kernel, g.kernel}, g);
  require(s.batch == 1, "moments", "a batch of ", s.batch, " images");
  Tensor columns = Tensor::uninitialized({g.groups, s.window, s.out_area});
  for (std::int64_t i = 0; i < g.groups; ++i)
    im2col(x.data() + i * channels * s.area, columns.data() + i * s.window * s.out_area, {0, s.out_height}, s,
           g);
  return columns;
}

std::vector<double> in_double(const Tensor& x) { return {x.values().begin(), x.values().end()}; }

void add_to(std::vector<double>& total, const std::vector<double>& part) {
  for (std::size_t i = 0; i < part.size(); ++i) total[i] += part[i];
}

}  // namespace

LayerMoments layer_moments(const Node& node, const Tensor& x, const Tensor& y) {
  LayerMoments m;
  const Tensor y_squared = mul(y, y);
  if (const Conv2d* conv = std::get_if<Conv2d>(&node.op)) {
    const Tensor windows = windows_of(*conv, x);
    m.groups = windows.dim(0);
    m.inputs = windows.dim(1);
    m.count = windows.dim(2);
    m.outputs = conv->out;
    m.gram = in_double(matmul(windows, windows, true, 1));
    m.cross = in_double(conv2d_backward_weight(y, x, conv->geometry));
    m.input_sums = in_double(sum_last(windows));
    m.output_sums = in_double(conv2d_backward_bias(y));
    m.squares = in_double(conv2d_backward_bias(y_squared));
    return m;
  }
  const Linear* linear = std::get_if<Linear>(&node.op);
  require(linear, "moments", op_name(node.op), " has no weight to choose");
  m.inputs = linear->in;
  m.outputs = linear->out;
  m.count = x.size() / linear->in;
  m.gram = in_double(linear_backward_weight(x, x));
  m.cross = in_double(linear_backward_weight(y, x));
  m.input_sums = in_double(linear_backward_bias(x));
  m.output_sums = in_double(linear_backward_bias(y));
  m.squares = in_double(linear_backward_bias(y_squared));
  return m;
}

void add(LayerMoments& total, const LayerMoments& part) {
  if (total.count == 0) {
    total = part;
    return;
  }
  total.count += part.count;
  add_to(total.gram, part.gram);
  add_to(total.cross, part.cross);
  add_to(total.squares, part.squares);
  add_to(total.input_sums, part.input_sums);
  add_to(total.output_sums, part.output_sums);
}

LayerMoments centered(LayerMoments m) {
  const double n = double(m.count);
  for (std::int64_t g = 0; g < m.groups; ++g) {
    const double* sums = m.input_sums.data() + g * m.inputs;
    double* gram = m.gram.data() + g * m.inputs * m.inputs;
    for (std::int64_t i = 0; i < m.inputs; ++i)
      for (std::int64_t j = 0; j < m.inputs; ++j) gram[i * m.inputs + j] -= sums[i] * sums[j] / n;
  }
  for (std::int64_t o = 0; o < m.outputs; ++o) {
    const double* sums = m.input_sums.data() + m.group_of(o) * m.inputs;
    const double of_output = m.output_sums[std::size_t(o)];
    for (std::int64_t i = 0; i < m.inputs; ++i)
      m.cross[std::size_t(o * m.inputs + i)] -= of_output * sums[i] / n;
    m.squares[std::size_t(o)] -= of_output * of_output / n;
  }
  return m;
}

LayerMoments regularized(LayerMoments m, const Tensor& towards, double lambda) {
  for (std::int64_t g = 0; g < m.groups; ++g)
    for (std::int64_t i = 0; i < m.inputs; ++i)
      m.gram[std::size_t((g * m.inputs + i) * m.inputs + i)] += lambda;
  for (std::int64_t i = 0; i < towards.size(); ++i) m.cross[std::size_t(i)] += lambda * double(towards[i]);
  for (std::int64_t o = 0; o < m.outputs; ++o)
    for (std::int64_t i = 0; i < m.inputs; ++i) {
      const double w = double(towards[o * m.inputs + i]);
      m.squares[std::size_t(o)] += lambda * w * w;
    }
  return m;
}

std::vector<double> errors_of(const LayerMoments& m, const Tensor& weight) {
  std::vector<double> errors;
  for (std::int64_t o = 0; o < m.outputs; ++o) {
    const std::vector<double> w(weight.data() + o * m.inputs, weight.data() + (o + 1) * m.inputs);
    const double* gram = m.gram_of(o);
    double error = m.squares[std::size_t(o)];
    for (std::int64_t i = 0; i < m.inputs; ++i)
      error += w[std::size_t(i)] *
               (dot(gram + i * m.inputs, w.data(), m.inputs) - 2 * m.cross[std::size_t(o * m.inputs + i)]);
    errors.push_back(error / double(m.count));
  }
  return errors;
}

}  // namespace qhv
