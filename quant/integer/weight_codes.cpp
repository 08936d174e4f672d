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
  WeightCodes w{quantize(multiply_channels(weight, layer.equalization), q), {}, {}};
  for (std::int32_t& code : w.packed.values()) code -= shift;
  const std::int64_t columns = weight.dim(0), group = columns / std::int64_t(q.scale.size());
  for (std::int64_t c = 0; c < columns; ++c) {
    w.scale.push_back(double(q.scale[std::size_t(c / group)]));
    w.zero.push_back(q.zero_point[std::size_t(c / group)] - shift);
  }
  return w;
}

std::vector<std::int32_t> zeros_of(const WeightCodes& w) {
  const bool any = std::ranges::any_of(w.zero, [](std::int32_t z) { return z != 0; });
  return any ? w.zero : std::vector<std::int32_t>();
}

std::vector<Column> product_columns(const Readers& readers, int node, const WeightCodes& w, const Encoding& x,
                                    std::int64_t depth, const Tensor* bias,
                                    const std::function<std::int32_t(std::int64_t, std::int64_t)>& weight) {
  const double s = input_scale(readers, node, x);
  const double least = *std::ranges::min_element(w.scale);
  std::vector<Column> columns;
  for (std::size_t c = 0; c < w.scale.size(); ++c) {
    Column column{s * w.scale[c], bias ? double((*bias)[std::int64_t(c)]) : 0};
    double magnitude = 0, without_zero = 0;
    for (std::int64_t k = 0; k < depth; ++k) {
      const std::int64_t z = x.zero[std::size_t(k % x.columns())], q = weight(k, std::int64_t(c));
      column.center += z * (q - w.zero[c]);
      magnitude += double(std::abs(q));
      without_zero += double(std::abs(q - w.zero[c]));
    }
    column.largest = 255 * (magnitude + double(depth) * std::abs(w.zero[c]));
    if (column.largest >= 0x1p31)
      readers.unsupported(node, concat("sums ", depth, " products, which could overflow 32 bits"));
    // A channel without weights has any scale: its sums are their center.
    if (without_zero == 0) column.unit = s * least;
    columns.push_back(column);
  }
  return columns;
}

}  // namespace qhv
