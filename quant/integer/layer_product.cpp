#include "quant/integer/layer_product.h"

#include <algorithm>
#include <cmath>

namespace qhv {
namespace {

constexpr std::int64_t kBlockRows = 64;  // of sums that are in memory at a time

/// Where the values of sums go: elements from row to row and from column to column.
struct Place {
  real* first;
  std::int64_t row_step, column_step;
};

void store_values(const std::vector<Column>& columns, const std::int32_t* sums, std::int64_t stride,
                  std::int64_t rows, Place to) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const Column& column = columns[c];
      const std::int64_t products = sums[r * stride + std::int64_t(c)] - column.center;
      to.first[r * to.row_step + std::int64_t(c) * to.column_step] =
          real(column.unit * double(products) + column.bias);
    }
}

void multiply_codes(const IntegerKernels& kernels, const MultiplyCodes& op, const std::uint8_t* src,
                    std::int64_t rows, const std::vector<Column>& columns, Place to) {
  const std::int64_t stride = sums_stride(op);
  Aligned<std::int32_t> sums(std::min(rows, kBlockRows) * stride);
  for (std::int64_t first = 0; first < rows; first += kBlockRows) {
    const std::int64_t count = std::min(rows - first, kBlockRows);
    sum_rows(kernels, op, src, first, count, sums.data());
    store_values(columns, sums.data(), stride, count,
                 {to.first + first * to.row_step, to.row_step, to.column_step});
  }
}

void multiply_codes(const IntegerKernels& kernels, const DepthwiseCodes& op, const std::uint8_t* src,
                    const std::vector<Column>& columns, Place to) {
  const IntegerDepthwiseTask task = depthwise_task(op, src);
  Aligned<std::int32_t> sums(op.out_width * op.channels);
  for (std::int64_t y = 0; y < op.out_height; ++y) {
    kernels.depthwise(task, y, 0, op.out_width, sums.data());
    store_values(columns, sums.data(), op.channels, op.out_width,
                 {to.first + y * op.out_width * to.row_step, to.row_step, to.column_step});
  }
}

/// Codes [channels, height, width] with channels last, in a border of zero points.
Aligned<std::uint8_t> channels_last(const std::uint8_t* codes, const Encoding& e, std::int64_t height,
                                    std::int64_t width, std::int64_t pad) {
  const std::int64_t channels = e.columns(), padded_width = width + 2 * pad,
                     pixels = (height + 2 * pad) * padded_width;
  Aligned<std::uint8_t> map(pixels * channels + kSlack);
  if (pad)
    for (std::int64_t i = 0; i < pixels; ++i)
      std::ranges::transform(e.zero, map.data() + i * channels,
                             [](std::int32_t zero) { return std::uint8_t(zero); });
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t y = 0; y < height; ++y) {
      std::uint8_t* row = map.data() + ((y + pad) * padded_width + pad) * channels + c;
      for (std::int64_t x = 0; x < width; ++x) row[x * channels] = *codes++;
    }
  return map;
}

}  // namespace

LayerProduct::LayerProduct(const Graph& graph, const PlannedLayers& layers, int node,
                           const IntegerKernels& kernels)
    : graph_(graph), layers_(layers), node_(node), kernels_(kernels) {
  const Node& n = graph.nodes[std::size_t(node)];
  const Shape& in = layers.shape(n.inputs[0]);
  if (std::holds_alternative<MatMul>(n.op)) {
    if (in.size() != 4) layers.unsupported(node, concat("multiplies ", in, ", which has no heads"));
    for (const int slot : {0, 1}) layers.byte_encoding({node, slot}, in[1]);
    require_sums_fit(layers, node, in[3]);
    return;
  }
  const auto* conv = std::get_if<Conv2d>(&n.op);
  if (conv) require_kernel(graph, layers, node);
  input_ = layers.byte_encoding({node, 0}, layers.channels(n.inputs[0]));
  const WeightCodes w = weight_codes(graph, layers, node);
  const Tensor* bias = n.params.size() > 1 ? &graph.params[std::size_t(n.params[1])].value : nullptr;
  if (is_depthwise(n)) {
    op_ = multiply_depthwise(w, input_, conv->geometry, in[2], in[3]);
    columns_ = depthwise_columns(layers, node, w, input_, bias);
    return;
  }
  if (conv)
    op_ = multiply_windows(w, conv->in, conv->geometry, in[2], in[3]);
  else
    op_ = multiply_rows(w, layers.rows(node), input_.columns());
  columns_ = product_columns(layers, node, w, input_, bias);
}

Tensor LayerProduct::run(std::span<const Tensor* const> inputs) const {
  const Op& op = graph_.nodes[std::size_t(node_)].op;
  if (const auto* conv = std::get_if<Conv2d>(&op)) return convolve(*conv, *inputs[0]);
  if (const auto* linear = std::get_if<Linear>(&op)) return multiply(*linear, *inputs[0]);
  return multiply(std::get<MatMul>(op), *inputs[0], *inputs[1]);
}

/// The codes of input `slot` in the order of x.
Aligned<std::uint8_t> LayerProduct::codes(int slot, const Tensor& x) const {
  const QParams& q = uniform(layers_.layer(node_).inputs[std::size_t(slot)].quantizer, layers_.where(node_));
  if (std::ranges::any_of(x.values(), [](real v) { return std::isnan(v); }))
    layers_.unsupported(node_, concat("reads NaN in input ", slot));
  const TensorI32 wide = quantize(x, q);
  Aligned<std::uint8_t> bytes(x.size() + kSlack);
  std::ranges::transform(wide.values(), bytes.data(),
                         [&](std::int32_t code) { return std::uint8_t(code - q.qmin); });
  return bytes;
}

Tensor LayerProduct::convolve(const Conv2d& op, const Tensor& x) const {
  const ConvGeometry& g = op.geometry;
  const std::int64_t height = x.dim(2), width = x.dim(3);
  Tensor y = Tensor::uninitialized({x.dim(0), op.out, conv_extent(height, g), conv_extent(width, g)});
  const std::int64_t pixels = y.dim(2) * y.dim(3);
  const Aligned<std::uint8_t> all = codes(0, x);
  for (std::int64_t image = 0; image < x.dim(0); ++image) {
    const std::uint8_t* of_image = all.data() + image * op.in * height * width;
    const Place to{y.data() + image * op.out * pixels, 1, pixels};
    if (const auto* depthwise = std::get_if<DepthwiseCodes>(&op_))
      multiply_codes(kernels_, *depthwise, channels_last(of_image, input_, height, width, 0).data(), columns_,
                     to);
    else
      multiply_codes(kernels_, std::get<MultiplyCodes>(op_),
                     channels_last(of_image, input_, height, width, g.pad).data(), pixels, columns_, to);
  }
  return y;
}

Tensor LayerProduct::multiply(const Linear& op, const Tensor& x) const {
  Shape shape = x.shape();
  shape.back() = op.out;
  Tensor y = Tensor::uninitialized(std::move(shape));
  multiply_codes(kernels_, std::get<MultiplyCodes>(op_), codes(0, x).data(), x.size() / op.in, columns_,
                 {y.data(), op.out, 1});
  return y;
}

// Each head's second operand is packed as if it were weights.
Tensor LayerProduct::multiply(const MatMul& op, const Tensor& a, const Tensor& b) const {
  const std::int64_t heads = a.dim(1), rows = a.dim(2), depth = a.dim(3),
                     count = b.dim(op.transpose_b ? 2 : 3);
  Tensor y = Tensor::uninitialized({a.dim(0), heads, rows, count});
  const Aligned<std::uint8_t> of_a = codes(0, a), of_b = codes(1, b);
  const Encoding left = layers_.byte_encoding({node_, 0}, heads),
                 right = layers_.byte_encoding({node_, 1}, heads);
  for (std::int64_t i = 0; i < a.dim(0) * heads; ++i) {
    const std::int64_t head = i % heads;
    const std::uint8_t* matrix = of_b.data() + i * depth * count;
    WeightCodes w{std::vector<std::int8_t>(std::size_t(depth * count)),
                  std::vector<double>(std::size_t(count), right.scale[std::size_t(head)]),
                  std::vector<std::int32_t>(std::size_t(count), right.zero[std::size_t(head)] - 128)};
    for (std::int64_t n = 0; n < count; ++n)
      for (std::int64_t k = 0; k < depth; ++k)
        w.codes[std::size_t(n * depth + k)] =
            std::int8_t(matrix[op.transpose_b ? n * depth + k : k * count + n] - 128);
    Encoding x;
    for (std::int64_t k = 0; k < depth; ++k) x.append(left.slice(head, 1));
    std::vector<Column> columns = product_columns(layers_, node_, w, x, nullptr);
    for (Column& column : columns) column.unit *= op.scale;
    multiply_codes(kernels_, multiply_rows(w, rows, depth), of_a.data() + i * rows * depth, rows, columns,
                   {y.data() + i * rows * count, count, 1});
  }
  return y;
}

}  // namespace qhv
