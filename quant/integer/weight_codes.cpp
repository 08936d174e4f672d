#include "quant/integer/weight_codes.h"

#include <algorithm>
#include <cmath>

#include "quant/equalize.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

/// The scale of the input behind equalization, which all channels share.
double input_scale(const PlannedLayers& layers, int node, const Encoding& x) {
  const std::vector<float>& a = layers.layer(node).equalization;
  const auto scale = [&](std::size_t c) { return a.empty() ? x.scale[c] : x.scale[c] / double(a[c]); };
  for (std::size_t c = 1; c < x.scale.size(); ++c)
    if (std::abs(scale(c) - scale(0)) > 1e-6 * scale(0))
      layers.unsupported(node, "reads channels of different scales without equalization");
  return scale(0);
}

std::int32_t byte_shift(const QParams& q) { return q.qmax > 127 ? 128 : 0; }

/// From [columns][channels][taps] to [columns][taps][channels].
std::vector<std::int8_t> channels_last(const std::int8_t* codes, std::int64_t columns, std::int64_t channels,
                                       std::int64_t taps) {
  const std::int64_t size = columns * channels * taps;
  if (channels == 1 || taps == 1) return {codes, codes + size};
  std::vector<std::int8_t> result(std::size_t(size), 0);
  std::int8_t* out = result.data();
  for (std::int64_t n = 0; n < columns; ++n, codes += channels * taps)
    for (std::int64_t tap = 0; tap < taps; ++tap)
      for (std::int64_t c = 0; c < channels; ++c) *out++ = codes[c * taps + tap];
  return result;
}

/// Whether all bytes, with these bits flipped, are from low to high; so they are in dst.
QHV_VECTORIZE bool flip_bytes(const std::byte* src, std::int64_t count, std::uint8_t bits, std::int8_t low,
                              std::int8_t high, std::int8_t* dst) {
  std::int8_t least = high, largest = low;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto code = std::int8_t(std::uint8_t(src[i]) ^ bits);
    least = code < least ? code : least;
    largest = code > largest ? code : largest;
    dst[i] = code;
  }
  return least >= low && largest <= high;
}

/// What the codes of a column add up to.
struct CodeSums {
  std::int64_t center = 0;                   // of (code - zero) times the input's zero point
  std::int64_t magnitude = 0, distance = 0;  // of codes from 0, and from their zero point
};

/// Adds codes that meet inputs with the zero points x_zero.
QHV_VECTORIZE void add_codes(CodeSums& sums, const std::int8_t* codes, const std::int32_t* x_zero,
                             std::int64_t count, std::int32_t zero) {
  constexpr std::int64_t kPart = 4096;  // so many products of 9-bit numbers add up to less than 2^31
  for (std::int64_t first = 0; first < count; first += kPart) {
    std::int32_t center = 0, magnitude = 0, distance = 0;
    for (std::int64_t i = first; i < std::min(count, first + kPart); ++i) {
      const std::int32_t code = codes[i], value = code - zero;
      center += x_zero[i] * value;
      magnitude += std::abs(code);
      distance += std::abs(value);
    }
    sums.center += center;
    sums.magnitude += magnitude;
    sums.distance += distance;
  }
}

}  // namespace

bool fit_bytes(const QParams& q) {
  const std::int32_t shift = byte_shift(q);
  return q.qmin - shift >= -128 && q.qmax - shift <= 127;
}

TensorI8 to_bytes(const TensorI32& codes, const QParams& q) {
  const std::int32_t shift = byte_shift(q);
  TensorI8 bytes = TensorI8::uninitialized(codes.shape());
  std::ranges::transform(codes.values(), bytes.data(),
                         [shift](std::int32_t code) { return std::int8_t(code - shift); });
  return bytes;
}

TensorI8 to_bytes(const RawTensor& raw, const QParams& q) {
  const std::int32_t shift = byte_shift(q);
  // Signed bytes less 128 are no bytes, and unsigned ones need it.
  if (raw.dtype != (shift ? DType::kU8 : DType::kI8) || !fit_bytes(q)) return {};
  TensorI8 bytes = TensorI8::uninitialized(raw.shape);
  require(std::size_t(bytes.size()) == raw.bytes.size(), "weight codes", raw.bytes.size(), " bytes for ",
          raw.shape);
  const bool all = flip_bytes(raw.bytes.data(), bytes.size(), std::uint8_t(shift),
                              std::int8_t(q.qmin - shift), std::int8_t(q.qmax - shift), bytes.data());
  return all ? std::move(bytes) : TensorI8();
}

WeightCodes weight_codes(const Graph& graph, const PlannedLayers& layers, int node) {
  const Param& weight = graph.params[std::size_t(graph.nodes[std::size_t(node)].params[0])];
  const LayerPlan& layer = layers.layer(node);
  const QParams& q = uniform(layer.weight->quantizer, "integer engine");
  if (q.axis > 0) layers.unsupported(node, "has weights with parameters by another axis than outputs");
  if (!fit_bytes(q)) layers.unsupported(node, concat("has weight codes ", q.qmin, " .. ", q.qmax));
  TensorI8 made;
  if (weight.codes.size() == 0)
    made = to_bytes(quantize(multiply_channels(weight.value, layer.equalization), q), q);
  const TensorI8& codes = weight.codes.size() ? weight.codes : made;
  const std::int64_t columns = codes.dim(0), channels = codes.dim(1),
                     taps = codes.size() / (columns * channels),
                     group = columns / std::int64_t(q.scale.size());
  WeightCodes w{channels_last(codes.data(), columns, channels, taps), {}, {}};
  for (std::int64_t n = 0; n < columns; ++n) {
    w.scale.push_back(double(q.scale[std::size_t(n / group)]));
    w.zero.push_back(q.zero_point[std::size_t(n / group)] - byte_shift(q));
  }
  return w;
}

std::vector<std::int32_t> WeightCodes::zeros() const {
  const bool any = std::ranges::any_of(zero, [](std::int32_t z) { return z != 0; });
  return any ? zero : std::vector<std::int32_t>();
}

std::vector<Column> product_columns(const PlannedLayers& layers, int node, const WeightCodes& w,
                                    const Encoding& x, const Tensor* bias) {
  const double s = input_scale(layers, node, x), least = *std::ranges::min_element(w.scale);
  const double largest_code = *std::ranges::max_element(x.hi);
  const std::int64_t depth = w.depth(), channels = x.columns();
  std::vector<Column> columns;
  for (std::int64_t n = 0; n < w.columns(); ++n) {
    const auto i = std::size_t(n);
    Column column{s * w.scale[i], bias ? double((*bias)[n]) : 0};
    CodeSums sums;
    for (std::int64_t k = 0; k < depth; k += channels)
      add_codes(sums, w.codes.data() + n * depth + k, x.zero.data(), channels, w.zero[i]);
    column.center = sums.center;
    column.largest = largest_code * (double(sums.magnitude) + double(depth) * std::abs(w.zero[i]));
    if (column.largest >= 0x1p31)
      layers.unsupported(node, concat("sums ", depth, " products, which could overflow 32 bits"));
    // A channel without weights has any scale: its sums are their center.
    if (sums.distance == 0) column.unit = s * least;
    columns.push_back(column);
  }
  return columns;
}

std::vector<Column> depthwise_columns(const PlannedLayers& layers, int node, const WeightCodes& w,
                                      const Encoding& x, const Tensor* bias) {
  // Of its one input channel.
  const std::vector<float>& equalization = layers.layer(node).equalization;
  const double factor = equalization.empty() ? 1 : double(equalization[0]);
  const std::int64_t taps = w.depth();
  std::vector<Column> columns;
  for (std::int64_t c = 0; c < w.columns(); ++c) {
    const auto i = std::size_t(c);
    Column column{x.scale[i] * w.scale[i] / factor, bias ? double((*bias)[c]) : 0};
    for (std::int64_t k = 0; k < taps; ++k) {
      const std::int32_t q = w.codes[std::size_t(c * taps + k)];
      column.center += std::int64_t(x.zero[i]) * (q - w.zero[i]);
      column.largest += x.hi[i] * (std::abs(double(q)) + std::abs(double(w.zero[i])));
    }
    columns.push_back(column);
  }
  return columns;
}

std::vector<Column> joined_planes(const PlannedLayers& layers, int node, std::vector<Column> low,
                                  const std::vector<Column>& high, int high_shift) {
  for (std::size_t c = 0; c < low.size(); ++c) {
    low[c].center += high[c].center << high_shift;
    low[c].largest += std::ldexp(high[c].largest, high_shift);
    if (low[c].largest >= 0x1p31)
      layers.unsupported(node, concat("sums products with twin ranges whose steps have the ratio 2^",
                                      high_shift, ", which could overflow 32 bits"));
  }
  return low;
}

}  // namespace qhv
