// One pass over the nodes, as nn/executor/compile.cpp: each becomes a step, is fused into the second half of
// the step before it, is part of an attention, or only moves what others store.
#include "quant/integer/lower.h"

#include <algorithm>
#include <cmath>

#include "nn/shapes.h"
#include "quant/integer/columns.h"
#include "quant/integer/lower_attention.h"
#include "quant/integer/products.h"
#include "quant/integer/round_up.h"
#include "quant/integer/weight_codes.h"

namespace qhv {
namespace {

constexpr double kNormalizedUnit = 0x1p-16, kResizedUnit = 0x1p-7;

class Lowering {
 public:
  Lowering(const Graph& graph, const QuantPlan& plan)
      : graph_(graph),
        shapes_(infer_shapes(graph)),
        macs_(mac_counts(graph)),
        readers_(graph, plan, program_.buffers),
        patch_(graph.nodes.size(), 0),
        height_(graph.nodes.size(), 0),
        width_(graph.nodes.size(), 0),
        done_(graph.nodes.size(), false) {}

  IntegerProgram run(std::vector<StoredInput>* inputs) {
    for (current_ = 0; current_ < int(graph_.nodes.size()); ++current_) {
      set_place();
      if (done_[std::size_t(current_)] || skips()) continue;
      std::visit(*this, node().op);
    }
    program_.outputs = shapes_.back()[1];
    for (Buffer& b : program_.buffers) b.size = aligned_bytes(b.size + kSlack);
    program_.arena_size = place_buffers(program_.buffers, lifetimes());
    if (inputs) *inputs = readers_.inputs();
    return std::move(program_);
  }

  void operator()(const Input& op) {
    program_.input_shape = {op.channels, op.height, op.width};
    const std::vector<Form>& forms = readers_.forms(current_);
    const int reader = readers_.only_reader(current_);
    if (forms.size() != 1 || reader < 0) readers_.unsupported(current_, "is read in more than one form");
    LoadCodes load{forms[0].encoding, op.channels, op.height, op.width, pad_of(reader)};
    if (load.encoding.type != CodeType::kU8) readers_.unsupported(reader, "reads an image of 16 bits");
    grow(forms[0].buffer, (op.height + 2 * load.pad) * (op.width + 2 * load.pad) * op.channels);
    program_.steps.push_back({node().name, std::move(load), {}, {.outputs = {output_of(forms[0])}}, 0});
  }

  void operator()(const Conv2d& op) {
    require_kernel(graph_, readers_, current_);
    if (is_depthwise(node())) return depthwise(op);
    convolve(op.in, op.geometry, op.bias);
  }
  void operator()(const Linear& op) { convolve(op.in, {}, op.bias); }

  void operator()(const LayerNorm& op) { normalize(op.channels, op.eps, true); }
  void operator()(const GroupNorm& op) { normalize(op.channels, op.eps, false); }

  void operator()(const Silu&) { copy(0); }
  void operator()(const Add&) { copy(0); }

  void operator()(const MergeHeads&) { attend(); }
  void operator()(const Mul&) { attend_separably(); }

  void operator()(const GlobalAvgPool&) {
    const Form x = bytes(0);
    const std::int64_t rows = readers_.rows(input()), channels = x.encoding.columns();
    std::vector<Column> columns;
    for (std::size_t c = 0; c < std::size_t(channels); ++c)
      columns.push_back(
          {x.encoding.scale[c] / double(rows), 0, rows * x.encoding.zero[c], 255.0 * double(rows)});
    emit(PoolCodes{rows, channels}, {x.buffer}, columns);
  }

  void operator()(const ResizeBilinear& op) {
    const Form& x = readers_.input({current_, 0});
    if (x.encoding.type != CodeType::kI16) readers_.unsupported(current_, "reads 8 bits");
    const std::int64_t height = height_[std::size_t(input())], width = width_[std::size_t(input())];
    ResizeCodes resize{taps(height, op.height, op.align_corners), taps(width, op.width, op.align_corners),
                       x.encoding.columns(), height, width};
    std::vector<Column> columns;
    for (std::size_t c = 0; c < x.encoding.scale.size(); ++c)
      columns.push_back(
          {x.encoding.scale[c] * kResizedUnit, 0, std::int64_t(x.encoding.zero[c]) * 128, 0x1p22});
    emit(std::move(resize), {x.buffer}, columns);
  }

  void operator()(const BatchNorm&) { readers_.unsupported(current_, "is not folded into a convolution"); }
  void operator()(const Relu&) { readers_.unsupported(current_, "has no step of its own"); }
  void operator()(const MatMul&) { readers_.unsupported(current_, "is not part of an attention"); }
  void operator()(const Softmax&) { readers_.unsupported(current_, "is not part of an attention"); }
  void operator()(const SumLast&) { readers_.unsupported(current_, "is not part of an attention"); }
  void operator()(const Slice&) { readers_.unsupported(current_, "is not part of an attention"); }
  void operator()(const SplitHeads&) { readers_.unsupported(current_, "is not part of an attention"); }
  void operator()(const Concat&) {}
  void operator()(const UnfoldPatches&) {}
  void operator()(const FoldPatches&) {}

 private:
  const Node& node() const { return graph_.nodes[std::size_t(current_)]; }
  int input(std::size_t slot = 0) const { return node().inputs[slot]; }
  const Tensor& param(std::size_t i) const { return graph_.params[std::size_t(node().params[i])].value; }
  std::string where() const { return readers_.where(current_); }

  /// Inner nodes of attention, and ReLUs, which clip what is stored before them.
  bool skips() const {
    return (readers_.is_inside(current_) && !readers_.attention(current_)) ||
           std::holds_alternative<Relu>(node().op);
  }

  /// Height, width and patch of the map that the node's output is.
  void set_place() {
    const auto i = std::size_t(current_);
    const Shape& shape = shapes_[i];
    if (!node().inputs.empty()) {
      const auto from = std::size_t(input());
      height_[i] = height_[from];
      width_[i] = width_[from];
      patch_[i] = patch_[from];
    }
    if (const auto* unfold = std::get_if<UnfoldPatches>(&node().op)) patch_[i] = unfold->patch;
    if (std::holds_alternative<FoldPatches>(node().op)) patch_[i] = 0;
    if (shape.size() == 2) height_[i] = width_[i] = 1;
    if (shape.size() == 4 && !patch_[i]) {
      height_[i] = shape[2];
      width_[i] = shape[3];
    }
  }

  std::int64_t pad_of(int reader) const {
    const auto* conv = std::get_if<Conv2d>(&graph_.nodes[std::size_t(reader)].op);
    return conv && conv->geometry.groups == 1 ? conv->geometry.pad : 0;
  }

  void grow(int buffer, std::int64_t size) {
    Buffer& b = program_.buffers[std::size_t(buffer)];
    b.size = std::max(b.size, size);
  }

  std::vector<Lifetime> lifetimes() const {
    std::vector<Lifetime> alive(program_.buffers.size(), {int(program_.steps.size()), -1});
    for (int i = 0; i < int(program_.steps.size()); ++i) {
      const IntegerStep& step = program_.steps[std::size_t(i)];
      const auto touch = [&](int buffer) {
        Lifetime& life = alive[std::size_t(buffer)];
        life = {std::min(life.begin, i), std::max(life.end, i)};
      };
      for (const Output& o : step.store.outputs) touch(o.buffer);
      for (const int src : step.src) touch(src);
      if (step.store.addend >= 0) touch(step.store.addend);
    }
    return alive;
  }

  /// The form of input `slot`, which has to be bytes.
  const Form& bytes(int slot) const {
    const Form& form = readers_.input({current_, slot});
    if (form.encoding.type != CodeType::kU8)
      readers_.unsupported(current_, concat("reads input ", slot, " with 16 bits"));
    return form;
  }

  /// Whether the addition can take this node's sums as they are made: its other operand is there already.
  bool fuses_add(int add) const {
    const std::vector<int>& inputs = graph_.nodes[std::size_t(add)].inputs;
    const int other = inputs[0] == current_ ? inputs[1] : inputs[0];
    return other != current_ && other < current_;
  }

  /// Appends the step that computes the current node and what is fused behind it.
  void emit(SumsOp op, std::vector<int> src, const std::vector<Column>& columns, std::int64_t macs = 0) {
    IntegerStep step{node().name, std::move(op), std::move(src), {}, macs};
    step.store.columns = std::int64_t(columns.size());
    const int reader = readers_.only_reader(current_);
    const Op* next = reader < 0 ? nullptr : &graph_.nodes[std::size_t(reader)].op;
    int last = current_;
    if (std::holds_alternative<Silu>(node().op)) {
      store_silu(step.store, readers_, current_, columns, where());
    } else if (std::holds_alternative<Add>(node().op)) {
      store_add(step.store, readers_, current_, 0, columns, where());
    } else if (next && std::holds_alternative<Silu>(*next)) {
      store_silu(step.store, readers_, last = reader, columns, where());
    } else if (next && std::holds_alternative<Add>(*next) && fuses_add(reader)) {
      store_add(step.store, readers_, last = reader,
                graph_.nodes[std::size_t(reader)].inputs[0] == current_ ? 0 : 1, columns, where());
    } else if (current_ + 1 == int(graph_.nodes.size())) {
      program_.logit_scale = store_logits(step.store, program_.buffers, columns, where());
    } else {
      store_plain(step.store, readers_, last, columns, where());
    }
    done_[std::size_t(last)] = true;
    step.name = graph_.nodes[std::size_t(last)].name;
    program_.steps.push_back(std::move(step));
  }

  /// The codes of an input, as sums.
  void copy(int slot) {
    const Form& x = readers_.input({current_, slot});
    if (x.stride != x.encoding.columns()) readers_.unsupported(current_, "reads a part of a joined map");
    std::vector<Column> columns;
    for (std::size_t c = 0; c < x.encoding.scale.size(); ++c)
      columns.push_back({x.encoding.scale[c], 0, x.encoding.zero[c], 0x1p15});
    emit(CopyCodes{x.encoding.type, readers_.rows(current_), x.encoding.columns()}, {x.buffer}, columns);
  }

  // Products.

  void convolve(std::int64_t in, const ConvGeometry& g, bool bias) {
    const Form& x = bytes(0);
    const bool pointwise = g.kernel == 1 && g.stride == 1 && g.pad == 0;
    const auto from = std::size_t(input());
    const std::int64_t height = height_[from], width = width_[from];
    if (!pointwise && (patch_[from] || x.stride != in))
      readers_.unsupported(current_, "has a window over tokens or a part of a joined map");
    const WeightCodes w = weight_codes(graph_, readers_, current_);
    if (pointwise && readers_.rows(current_) != readers_.rows(input()))
      readers_.unsupported(current_, "changes the number of rows");
    const bool is_padded = g.pad && !std::holds_alternative<Input>(graph_.nodes[from].op);
    std::vector<int> src;
    for (const Form& plane : readers_.planes({current_, 0}))
      src.push_back(is_padded ? padded(plane, height, width, g.pad) : plane.buffer);
    MultiplyCodes step = pointwise ? multiply_rows(w, readers_.rows(current_), x.stride)
                                   : multiply_windows(w, in, g, height, width);
    emit_product(std::move(step), std::move(src), w, product_columns, bias);
  }

  /// Appends the step that multiplies the input, or each plane of it, by weights. `columns_of` says what sums
  /// with one plane mean.
  template <typename Product, typename ColumnsOf>
  void emit_product(Product step, std::vector<int> src, const WeightCodes& w, ColumnsOf columns_of,
                    bool bias) {
    const std::vector<Form>& planes = readers_.planes({current_, 0});
    const auto columns_with = [&](const Encoding& x) {
      return columns_of(readers_, current_, w, x, bias ? &param(1) : nullptr);
    };
    std::vector<Column> columns = columns_with(planes[0].encoding);
    if (planes.size() > 1) {
      step.high_shift = plane_shift(planes[1].encoding.scale[0] / planes[0].encoding.scale[0], where());
      columns = joined_planes(readers_, current_, std::move(columns), columns_with(planes[1].encoding),
                              *step.high_shift);
    }
    emit(std::move(step), std::move(src), columns, macs_[std::size_t(current_)]);
  }

  /// A copy of the map with zero points around it.
  int padded(const Form& x, std::int64_t height, std::int64_t width, std::int64_t pad) {
    const std::int64_t channels = x.encoding.columns();
    const int buffer = int(program_.buffers.size());
    program_.buffers.push_back({.size = (height + 2 * pad) * (width + 2 * pad) * channels});
    PadCodes op{{x.encoding.zero.begin(), x.encoding.zero.end()}, channels, height, width, pad};
    Store store;
    store.outputs.push_back({.buffer = buffer, .stride = channels});
    program_.steps.push_back({node().name, std::move(op), {x.buffer}, std::move(store), 0});
    return buffer;
  }

  void depthwise(const Conv2d& op) {
    const ConvGeometry& g = op.geometry;
    const Form x = bytes(0);
    if (x.stride != op.in) readers_.unsupported(current_, "reads a part of a joined map");
    const WeightCodes w = weight_codes(graph_, readers_, current_);
    const auto from = std::size_t(input());
    const std::vector<Form>& planes = readers_.planes({current_, 0});
    DepthwiseCodes step = multiply_depthwise(w, x.encoding, g, height_[from], width_[from]);
    std::vector<int> src{x.buffer};
    if (planes.size() > 1) {
      const Form& high = planes[1];
      step.zero.insert(step.zero.end(), high.encoding.zero.begin(), high.encoding.zero.end());
      src.push_back(high.buffer);
    }
    emit_product(std::move(step), std::move(src), w, depthwise_columns, op.bias);
  }

  void normalize(std::int64_t channels, double eps, bool by_row) {
    const Form& x = readers_.input({current_, 0});
    if (x.stride != channels) readers_.unsupported(current_, "reads a part of a joined map");
    const int src = x.encoding.type == CodeType::kU8 ? aligned_channels(x) : x.buffer;
    if (x.encoding.type != CodeType::kU8 && !x.encoding.is_uniform())
      readers_.unsupported(current_, "reads channels of different scales");
    const double scale = *std::ranges::min_element(x.encoding.scale);
    NormalizeCodes step{readers_.rows(current_), channels, 1, by_row};
    const double scaled_eps = eps / (scale * scale) * 65536;
    if (!(scaled_eps < 0x1p46))
      readers_.unsupported(current_, concat("has codes of scale ", scale, " for eps ", eps));
    step.eps = std::max<std::int64_t>(1, std::llround(scaled_eps));
    const double count = double(by_row ? channels : channels * step.rows);
    std::vector<Column> columns;
    for (std::int64_t c = 0; c < channels; ++c)
      columns.push_back({double(param(0)[c]) * kNormalizedUnit, double(param(1)[c]), 0,
                         std::sqrt(count) / kNormalizedUnit});
    emit(std::move(step), {src}, columns);
  }

  /// Channels of 8 bits whose scales are small multiples of one (FQ-ViT's power-of-two factors), as 16 bits
  /// of one scale: exact.
  int aligned_channels(const Form& x) {
    const Encoding& e = x.encoding;
    const double scale = *std::ranges::min_element(e.scale);
    std::vector<Column> columns;
    Encoding wide{CodeType::kI16, {}, {}, {}, {}};
    for (std::size_t c = 0; c < e.scale.size(); ++c) {
      const double factor = std::nearbyint(e.scale[c] / scale);
      if (std::abs(e.scale[c] - factor * scale) > 1e-4 * e.scale[c] || factor > 64)
        readers_.unsupported(current_, "reads channels whose scales are no small multiples of one");
      columns.push_back({factor * scale, 0, e.zero[c], 255});
      wide.scale.push_back(scale);
      wide.zero.push_back(0);
      wide.lo.push_back(-32768);
      wide.hi.push_back(32767);
    }
    const int buffer = int(program_.buffers.size());
    const std::int64_t rows = readers_.rows(input());
    program_.buffers.push_back({.size = rows * e.columns() * 2});
    Output output = output_of({wide, buffer, rows, 0, e.columns()});
    output.to_codes = to_codes(columns, wide, where());
    Store store{.columns = e.columns()};
    store.outputs.push_back(std::move(output));
    program_.steps.push_back(
        {node().name, CopyCodes{e.type, rows, e.columns()}, {x.buffer}, std::move(store), 0});
    return buffer;
  }

  // Attention.

  ProjectedTokens tokens(const AttentionMatch& match) const {
    const auto from = std::size_t(match.source);
    if (!patch_[from]) readers_.unsupported(current_, "attends to what is not tokens");
    return projected_tokens(height_[from], width_[from], readers_.channels(match.source), patch_[from],
                            match);
  }

  /// The rows of q, k and v.
  const Form& projection() const {
    const Form& form = readers_.input({current_, 0});
    if (form.stride != form.encoding.columns())
      readers_.unsupported(current_, "reads a part of a joined map");
    return form;
  }

  std::int64_t macs_of(const AttentionMatch& match) const {
    std::int64_t macs = 0;
    for (const int inner : match.nodes) macs += macs_[std::size_t(inner)];
    return macs;
  }

  void attend() {
    const AttentionMatch& match = readers_.attention(current_)->match;
    auto lowered = lowered_attention(readers_, current_, tokens(match));
    emit(std::move(lowered.op), {projection().buffer}, lowered.columns, macs_of(match));
  }

  void attend_separably() {
    const AttentionMatch& match = readers_.attention(current_)->match;
    auto lowered = lowered_separable_attention(readers_, current_, tokens(match));
    emit(std::move(lowered.op), {projection().buffer}, lowered.columns, macs_of(match));
  }

  static std::vector<ResizeCodes::Tap> taps(std::int64_t in, std::int64_t out, bool align_corners) {
    std::vector<ResizeCodes::Tap> result;
    for (const ResizeTap& tap : resize_taps(in, out, align_corners))
      result.push_back({tap.low, tap.high, std::int32_t(std::lround(4096 * tap.high_weight))});
    return result;
  }

  const Graph& graph_;
  std::vector<Shape> shapes_;
  std::vector<std::int64_t> macs_;
  IntegerProgram program_;
  Readers readers_;
  std::vector<int> patch_;
  std::vector<std::int64_t> height_, width_;
  std::vector<bool> done_;
  int current_ = 0;
};

}  // namespace

IntegerProgram lower(const Graph& graph, const QuantPlan& plan, std::vector<StoredInput>* inputs) {
  if (const std::vector<int> islands = float_islands(graph, plan); !islands.empty())
    PlannedLayers(graph, plan)
        .unsupported(islands.front(),
                     "is left to floating point: quantise with --full, or run with --allow-float-islands");
  return Lowering(graph, plan).run(inputs);
}

}  // namespace qhv
