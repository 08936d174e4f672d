#include "quant/integer/products.h"

namespace qhv {

MultiplyCodes multiply_rows(const WeightCodes& w, std::int64_t rows, std::int64_t stride) {
  return {.weights = pack_int8(w.codes, w.columns(), 1),
          .weight_zero = w.zeros(),
          .rows = rows,
          .src_stride = stride,
          .segment_size = w.depth()};
}

MultiplyCodes multiply_windows(const WeightCodes& w, std::int64_t channels, const ConvGeometry& g,
                               std::int64_t height, std::int64_t width) {
  const std::int64_t kernel = g.kernel, padded_width = width + 2 * g.pad, out_height = conv_extent(height, g),
                     out_width = conv_extent(width, g);
  MultiplyCodes op{.weights = pack_int8(w.codes, w.columns(), kernel),
                   .weight_zero = w.zeros(),
                   .rows = out_height * out_width,
                   .src_stride = channels,
                   .segment_stride = padded_width * channels,
                   .segment_size = kernel * channels};
  for (std::int64_t y = 0; y < out_height; ++y)
    for (std::int64_t x = 0; x < out_width; ++x)
      op.src_rows.push_back(std::int32_t((y * g.stride * padded_width + x * g.stride) * channels));
  return op;
}

DepthwiseCodes multiply_depthwise(const WeightCodes& w, const Encoding& x, const ConvGeometry& g,
                                  std::int64_t height, std::int64_t width) {
  const std::int64_t channels = w.columns(), taps = w.depth();
  DepthwiseCodes op{.weights = std::vector<std::int8_t>(w.codes.size()),
                    .weight_zero = w.zeros(),
                    .zero = {x.zero.begin(), x.zero.end()},
                    .channels = channels,
                    .height = height,
                    .width = width,
                    .out_height = conv_extent(height, g),
                    .out_width = conv_extent(width, g),
                    .stride = g.stride};
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t k = 0; k < taps; ++k)
      op.weights[std::size_t(k * channels + c)] = w.codes[std::size_t(c * taps + k)];
  return op;
}

void require_kernel(const Graph& graph, const PlannedLayers& layers, int node) {
  const Node& n = graph.nodes[std::size_t(node)];
  const ConvGeometry& g = std::get<Conv2d>(n.op).geometry;
  if (g.groups == 1) return;
  if (!is_depthwise(n)) layers.unsupported(node, "has groups that are no channels");
  if (g.kernel != 3 || g.pad != 1 || (g.stride != 1 && g.stride != 2))
    layers.unsupported(node, concat("has kernel ", g.kernel, ", stride ", g.stride, ", pad ", g.pad));
}

void require_sums_fit(const PlannedLayers& layers, int node, std::int64_t depth) {
  constexpr double kLargest = 255 * 255 + 2 * 255 * 128;
  if (kLargest * double(depth) >= 0x1p31)
    layers.unsupported(node, concat("sums ", depth, " products, which could overflow 32 bits"));
}

std::int64_t sums_stride(const MultiplyCodes& op) { return op.weights.panels * kPanelColumns; }

void sum_rows(const IntegerKernels& kernels, const MultiplyCodes& op, const std::uint8_t* src,
              std::int64_t first, std::int64_t count, std::int32_t* sums) {
  const std::int64_t stride = sums_stride(op);
  const IntegerGemmTask task{.src = src,
                             .src_stride = op.src_stride,
                             .src_rows = op.src_rows.empty() ? nullptr : op.src_rows.data(),
                             .segments = op.weights.segments,
                             .segment_stride = op.segment_stride,
                             .segment_quads = op.weights.segment_quads,
                             .weights = op.weights.data.data(),
                             .panels = op.weights.panels,
                             .sums = sums,
                             .sums_stride = stride};
  kernels.gemm(task, first, first + count);
  if (op.weight_zero.empty()) return;
  for (std::int64_t row = first; row < first + count; ++row, sums += stride) {
    const std::uint8_t* x = src + (op.src_rows.empty() ? row * op.src_stride : op.src_rows[std::size_t(row)]);
    std::int32_t codes = 0;
    for (std::int64_t s = 0; s < op.weights.segments; ++s)
      codes += kernels.row_sum(x + s * op.segment_stride, op.segment_size);
    kernels.subtract_zeros(sums, op.weights.columns, codes, op.weight_zero.data(), nullptr);
  }
}

IntegerDepthwiseTask depthwise_task(const DepthwiseCodes& op, const std::uint8_t* src, std::int64_t plane) {
  return {.src = src,
          .zero = op.zero.data() + plane * op.channels,
          .weights = op.weights.data(),
          .weight_zero = op.weight_zero.empty() ? nullptr : op.weight_zero.data(),
          .height = op.height,
          .width = op.width,
          .channels = op.channels,
          .out_width = op.out_width,
          .stride = op.stride};
}

}  // namespace qhv
