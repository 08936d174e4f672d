#include "quant/integer/weight_codes.h"

#include <algorithm>
#include <cmath>

#include "quant/equalize.h"

namespace qhv {
namespace {

/// The scale of the input behind equalization, which all channels share.
double input_scale(const Readers& readers, int node, const Encoding& x) {
  const std::vector<float>& a = readers.layer(node).equalization;
  const auto scale = [&](std::size_t c) { return a.empty() ? x.scale[c] : x.scale[c] / double(a[c]); };
  for (std::size_t c = 1; c < x.scale.size(); ++c)
    if (std::abs(scale(c) - scale(0)) > 1e-6 * scale(0))
      readers.unsupported(node, "reads channels of different scales without equalization");
  return scale(0);
}

}  // namespace

WeightCodes weight_codes(const Graph& graph, const Readers& readers, int node) {
  const Tensor& weight = graph.params[std::size_t(graph.nodes[std::size_t(node)].params[0])].value;
  const LayerPlan& layer = readers.layer(node);
  const QParams& q = uniform(layer.weight->quantizer, "integer engine");
  if (q.axis > 0) readers.unsupported(node, "has weights with parameters by another axis than outputs");
  const std::int32_t shift = q.qmax > 127 ? 128 : 0;
  if (q.qmin - shift < -128 || q.qmax - shift > 127)
    readers.unsupported(node, concat("has weight codes ", q.qmin, " .. ", q.qmax));
  const TensorI32 codes = quantize(multiply_channels(weight, layer.equalization), q);
  const std::int64_t columns = weight.dim(0), channels = weight.dim(1),
                     taps = weight.size() / (columns * channels),
                     group = columns / std::int64_t(q.scale.size());
  WeightCodes w{std::vector<std::int8_t>(std::size_t(codes.size())), {}, {}};
  std::int8_t* next = w.codes.data();
  for (std::int64_t n = 0; n < columns; ++n) {
    for (std::int64_t tap = 0; tap < taps; ++tap)
      for (std::int64_t c = 0; c < channels; ++c)
        *next++ = std::int8_t(codes.data()[(n * channels + c) * taps + tap] - shift);
    w.scale.push_back(double(q.scale[std::size_t(n / group)]));
    w.zero.push_back(q.zero_point[std::size_t(n / group)] - shift);
  }
  return w;
}

std::vector<std::int32_t> WeightCodes::zeros() const {
  const bool any = std::ranges::any_of(zero, [](std::int32_t z) { return z != 0; });
  return any ? zero : std::vector<std::int32_t>();
}

std::vector<Column> product_columns(const Readers& readers, int node, const WeightCodes& w, const Encoding& x,
                                    const Tensor* bias) {
  const double s = input_scale(readers, node, x), least = *std::ranges::min_element(w.scale);
  const std::int64_t depth = w.depth(), channels = x.columns();
  std::vector<Column> columns;
  for (std::int64_t n = 0; n < w.columns(); ++n) {
    const auto i = std::size_t(n);
    Column column{s * w.scale[i], bias ? double((*bias)[n]) : 0};
    const std::int8_t* q = w.codes.data() + n * depth;
    std::int64_t magnitude = 0, distance = 0;  // of the codes from 0, and from their zero point
    for (std::int64_t k = 0; k < depth; k += channels)
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::int32_t code = q[k + c], value = code - w.zero[i];
        column.center += std::int64_t(x.zero[std::size_t(c)]) * value;
        magnitude += std::abs(code);
        distance += std::abs(value);
      }
    column.largest = 255 * (double(magnitude) + double(depth) * std::abs(w.zero[i]));
    if (column.largest >= 0x1p31)
      readers.unsupported(node, concat("sums ", depth, " products, which could overflow 32 bits"));
    // A channel without weights has any scale: its sums are their center.
    if (distance == 0) column.unit = s * least;
    columns.push_back(column);
  }
  return columns;
}

}  // namespace qhv
