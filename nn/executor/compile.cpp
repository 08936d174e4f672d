// A graph to a program, in one pass over its nodes: each node becomes a step, is fused into the step of the
// node before it, is part of a pattern whose last node becomes a step, or renames the buffer that it reads.
#include <algorithm>

#include "nn/executor/attend.h"
#include "nn/executor/inverted_residual.h"
#include "nn/executor/program.h"
#include "nn/passes.h"
#include "nn/shapes.h"

namespace qhv {
namespace {

/// What a node puts out, as the program holds it.
struct Place {
  int buffer = -1;
  std::int64_t height = 0, width = 0, channels = 0;
  int patch = 0;         // of tokens; 0 for maps
  std::int64_t pad = 0;  // zeros around it

  std::int64_t rows() const { return height * width; }
  std::int64_t size() const { return rows() * channels; }
};

class Compiler {
 public:
  Compiler(const Graph& graph, const FloatKernels& kernels, const Roundings& roundings)
      : graph_(graph),
        roundings_(roundings),
        shapes_(infer_shapes(graph)),
        macs_(mac_counts(graph)),
        places_(graph.nodes.size()),
        done_(graph.nodes.size(), false),
        readers_(graph.nodes.size()) {
    program_.kernels = &kernels;
    for (int i = 0; i < int(graph.nodes.size()); ++i)
      for (const int input : graph.nodes[std::size_t(i)].inputs) readers_[std::size_t(input)].push_back(i);
  }

  Program run() {
    check_roundings();
    for (current_ = 0; current_ < int(graph_.nodes.size()); ++current_)
      if (!done_[std::size_t(current_)]) std::visit(*this, node().op);
    for (std::size_t i = 0; i < done_.size(); ++i)
      if (!done_[i]) unsupported(int(i), "outside of attention");
    const Shape& output = shapes_.back();
    require(output.size() == 2, "compile", "output ", output, " is not [B, N]");
    program_.outputs = output[1];
    fuse_inverted_residuals(program_);
    program_.arena_size = place_buffers(program_.buffers, lifetimes());
    return std::move(program_);
  }

  void operator()(const Input& op) {
    program_.input_shape = {op.channels, op.height, op.width};
    Place place{-1, op.height, op.width, op.channels};
    // A window that reads it wants zeros around it; nobody else may read it then.
    if (const std::vector<int>& readers = readers_[std::size_t(current_)]; readers.size() == 1)
      if (const auto* conv = std::get_if<Conv2d>(&graph_.nodes[std::size_t(readers[0])].op);
          conv && conv->geometry.groups == 1 && !rounding_of(readers[0], 0))
        place.pad = conv->geometry.pad;
    emit(LoadInput{op.channels, op.height, op.width, place.pad}, {}, place, padded_size(place));
  }

  void operator()(const Conv2d& op) {
    const ConvGeometry& g = op.geometry;
    if (g.groups == 1) return dense(op);
    if (g.groups != op.in || op.in != op.out || g.kernel != 3 || g.pad != 1 ||
        (g.stride != 1 && g.stride != 2))
      unsupported(current_, concat("with kernel ", g.kernel, ", stride ", g.stride, ", pad ", g.pad,
                                   ", groups ", g.groups, " of ", op.in, " to ", op.out));
    const Place x = rounded(source(0), 0);
    Place y{-1, conv_extent(x.height, g), conv_extent(x.width, g), op.out};
    Depthwise step{AlignedFloats(9 * op.in),
                   AlignedFloats(op.in),
                   op.in,
                   x.height,
                   x.width,
                   y.height,
                   y.width,
                   g.stride};
    for (std::int64_t c = 0; c < op.in; ++c) {
      for (std::int64_t k = 0; k < 9; ++k) step.weights.data()[k * op.in + c] = param(0)[c * 9 + k];
      if (op.bias) step.bias.data()[c] = param(1)[c];
    }
    step.activation = fuse_silu();
    emit(std::move(step), {x.buffer}, y, y.size());
  }

  void operator()(const Linear& op) {
    const Place x = rounded(source(0), 0);
    Place y = x;
    y.channels = op.out;
    multiply({.rows = x.rows(), .src_stride = op.in, .src_size = x.size()}, op.in, op.out, op.bias, x.buffer,
             y, [this, &op](std::int64_t k, std::int64_t n) { return param(0)[n * op.in + k]; });
  }

  void operator()(const LayerNorm& op) {
    const Place x = source(0);
    emit(NormalizeRows{copy(param(0)), copy(param(1)), x.rows(), op.channels, float(op.eps)}, {x.buffer}, x,
         x.size());
  }
  void operator()(const GroupNorm& op) {
    const Place x = source(0);
    emit(NormalizeImage{copy(param(0)), copy(param(1)), x.rows(), op.channels, op.eps}, {x.buffer}, x,
         x.size());
  }
  void operator()(const Silu&) {
    const Place x = source(0);
    emit(ActivateMap{x.size()}, {x.buffer}, x, x.size());
  }
  void operator()(const Add&) {
    const Place a = source(0), b = source(1);
    emit(AddMaps{a.size()}, {a.buffer, b.buffer}, a, a.size());
  }
  void operator()(const GlobalAvgPool&) {
    const Place x = source(0);
    PoolMap step{.factors = std::vector<float>(std::size_t(x.rows()), 1.0f / float(x.rows())),
                 .channels = x.channels};
    for (std::int64_t r = 0; r < x.rows(); ++r) step.offsets.push_back(std::int32_t(r * x.channels));
    emit(std::move(step), {x.buffer}, {-1, 1, 1, x.channels}, x.channels);
  }
  void operator()(const Concat& op) {
    if (op.axis != 1 || shapes_[std::size_t(current_)].size() != 4)
      unsupported(current_, "along another axis than channels");
    Join join;
    std::vector<int> buffers;
    Place y = source(0);
    y.channels = 0;
    for (std::size_t i = 0; i < node().inputs.size(); ++i) {
      const Place x = source(i);
      join.channels.push_back(x.channels);
      buffers.push_back(x.buffer);
      y.channels += x.channels;
    }
    join.rows = y.rows();
    emit(std::move(join), buffers, y, y.size());
  }
  void operator()(const ResizeBilinear& op) {
    const Place x = source(0);
    const Place y{-1, op.height, op.width, x.channels};
    emit(ResizeMap{resize_taps(x.height, op.height, op.align_corners),
                   resize_taps(x.width, op.width, op.align_corners), x.channels, x.height, x.width},
         {x.buffer}, y, y.size());
  }

  void operator()(const UnfoldPatches& op) {
    Place place = source(0);
    place.patch = op.patch;
    finish(current_, place);
  }
  void operator()(const FoldPatches&) {
    Place place = source(0);
    place.patch = 0;
    finish(current_, place);
  }

  void operator()(const MergeHeads&) {
    const auto match = match_attention(graph_, current_);
    if (!match) unsupported(current_, "that does not end softmax(q k^T) v");
    const Place x = tokens_at(match->source);
    Attention step{.in = tokens_of(x, *match),
                   .heads = match->heads,
                   .head_size = match->width / match->heads,
                   .scale = float(match->scale)};
    const int scores = match->scores, context = match->context;
    step.round_q = rounding_of(scores, 0);
    step.round_k = rounding_of(scores, 1);
    step.round_probabilities = rounding_of(context, 0);
    step.round_v = rounding_of(context, 1);
    need_scratch(attention_scratch(step, *program_.kernels));
    attend(std::move(step), *match, x);
  }
  void operator()(const Mul&) {
    const auto match = match_separable_attention(graph_, current_);
    if (!match) return;  // an inner node, or left over and reported
    const Place x = tokens_at(match->source);
    SeparableAttention step{.in = tokens_of(x, *match), .channels = match->width};
    need_scratch(aligned_size(step.in.tokens) * 2 + aligned_size(step.channels));
    attend(std::move(step), *match, x);
  }

  // Inner nodes of attention: the pattern's last node marks them as done.
  void operator()(const Relu&) {}
  void operator()(const MatMul&) {}
  void operator()(const Softmax&) {}
  void operator()(const SumLast&) {}
  void operator()(const Slice&) {}
  void operator()(const SplitHeads&) {}

  void operator()(const BatchNorm&) { unsupported(current_, "that does not follow a convolution"); }

 private:
  const Node& node() const { return graph_.nodes[std::size_t(current_)]; }
  const Tensor& param(std::size_t i) const { return graph_.params[std::size_t(node().params[i])].value; }

  [[noreturn]] void unsupported(int index, const std::string& why) const {
    const Node& n = graph_.nodes[std::size_t(index)];
    fail("compile", concat("the executor has no step for ", op_name(n.op), ' ', n.name, ' ', why));
  }

  /// Where input `slot` of the node lies, without a border.
  Place source(std::size_t slot) const {
    const int input = node().inputs[slot];
    const Place& place = places_[std::size_t(input)];
    if (place.buffer < 0) unsupported(input, "outside of attention");
    if (place.pad) unsupported(current_, "that reads the input beside a convolution");
    return place;
  }

  void check_roundings() const {
    for (int i = 0; i < int(graph_.nodes.size()); ++i) {
      const Node& n = graph_.nodes[std::size_t(i)];
      if (std::holds_alternative<Conv2d>(n.op) || std::holds_alternative<Linear>(n.op) ||
          std::holds_alternative<MatMul>(n.op))
        continue;
      for (std::size_t slot = 0; slot < n.inputs.size(); ++slot)
        if (rounding_of(i, int(slot))) unsupported(i, "that rounds its input");
    }
  }

  RoundRows rounding_of(int index, int slot) const {
    return roundings_ ? roundings_({index, slot}) : RoundRows();
  }

  /// The input as the node reads it, rounded if it has to be.
  Place rounded(Place x, int slot) {
    RoundRows round = rounding_of(current_, slot);
    if (!round) return x;
    const int from = std::exchange(x.buffer, int(program_.buffers.size()));
    program_.buffers.push_back({.size = aligned_size(x.size())});
    program_.steps.push_back(
        {node().name, RoundMap{std::move(round), x.rows(), x.channels}, {from}, x.buffer, 0});
    return x;
  }

  static AlignedFloats copy(const Tensor& t) {
    AlignedFloats result(t.size());
    std::copy_n(t.data(), t.size(), result.data());
    return result;
  }

  std::vector<Lifetime> lifetimes() const {
    std::vector<Lifetime> alive(program_.buffers.size(), {-1, -1});
    for (int i = 0; i < int(program_.steps.size()); ++i) {
      const Step& step = program_.steps[std::size_t(i)];
      alive[std::size_t(step.dst)] = {i, i};
      for (const int src : step.src) alive[std::size_t(src)].end = i;
    }
    return alive;
  }

  static std::int64_t padded_size(const Place& p) {
    return (p.height + 2 * p.pad) * (p.width + 2 * p.pad) * p.channels;
  }

  void need_scratch(std::int64_t floats) { program_.scratch_size = std::max(program_.scratch_size, floats); }

  void finish(int index, const Place& place) {
    places_[std::size_t(index)] = place;
    done_[std::size_t(index)] = true;
  }

  /// Appends a step that computes the node, or what was fused into it.
  void emit(StepOp op, std::vector<int> src, Place place, std::int64_t size) {
    place.buffer = int(program_.buffers.size());
    program_.buffers.push_back({.size = aligned_size(size)});
    const int last = fused_ >= 0 ? fused_ : current_;
    program_.steps.push_back({graph_.nodes[std::size_t(last)].name, std::move(op), std::move(src),
                              place.buffer, macs_[std::size_t(current_)]});
    done_[std::size_t(current_)] = true;
    finish(last, place);
    fused_ = -1;
  }

  /// The only reader of `index`, or -1.
  int only_reader(int index) const {
    const std::vector<int>& readers = readers_[std::size_t(index)];
    return readers.size() == 1 ? readers[0] : -1;
  }

  /// Fuses the SiLU behind the node, if nothing else reads it.
  Activation fuse_silu() {
    const int reader = only_reader(current_);
    if (reader < 0 || !std::holds_alternative<Silu>(graph_.nodes[std::size_t(reader)].op))
      return Activation::kNone;
    fused_ = reader;
    done_[std::size_t(reader)] = true;
    return Activation::kSilu;
  }

  /// Fuses the addition behind the node, if nothing else reads it and the other operand is there already;
  /// returns the operand's buffer, or -1.
  int fuse_add(const Place& y) {
    const int reader = only_reader(current_);
    if (reader < 0 || !std::holds_alternative<Add>(graph_.nodes[std::size_t(reader)].op)) return -1;
    const std::vector<int>& inputs = graph_.nodes[std::size_t(reader)].inputs;
    const int other = inputs[0] == current_ ? inputs[1] : inputs[0];
    const Place& place = places_[std::size_t(other)];
    if (place.buffer < 0 || place.size() != y.size() || place.pad) return -1;
    fused_ = reader;
    done_[std::size_t(reader)] = true;
    return place.buffer;
  }

  void multiply(Multiply step, std::int64_t depth, std::int64_t columns, bool bias, int src, const Place& y,
                const std::function<float(std::int64_t, std::int64_t)>& weight) {
    step.weights = pack_matrix(*program_.kernels, depth, columns, weight, bias ? param(1).data() : nullptr);
    std::vector<int> sources{src};
    step.activation = fuse_silu();
    if (step.activation == Activation::kNone)
      if (const int residual = fuse_add(y); residual >= 0) sources.push_back(residual);
    emit(std::move(step), sources, y, y.size());
  }

  void dense(const Conv2d& op) {
    const ConvGeometry& g = op.geometry;
    Place x = places_[std::size_t(node().inputs[0])];
    // Sums of rounded values stay what they are: exact, or nearly so.
    if (x.pad == 0 && !x.patch && suits_winograd(op.geometry, op.in, op.out, x.height, x.width) &&
        !rounding_of(current_, 0))
      return winograd(op);
    if (x.pad == 0 || x.pad != g.pad) x = rounded(source(0), 0);  // otherwise it is the network's input
    const Place y{-1, conv_extent(x.height, g), conv_extent(x.width, g), op.out, x.patch};
    const bool pointwise = g.kernel == 1 && g.stride == 1 && g.pad == 0;
    if (!pointwise && x.patch) unsupported(current_, "with a window over tokens");
    if (x.pad != g.pad) x = padded(x, g.pad);
    const std::int64_t width = x.width + 2 * x.pad, channels = x.channels, kernel = g.kernel;
    Multiply step{.rows = y.rows(), .src_stride = channels, .src_size = padded_size(x)};
    if (!pointwise) {
      step.segments = kernel;
      step.segment_stride = width * channels;
      for (std::int64_t oy = 0; oy < y.height; ++oy)
        for (std::int64_t ox = 0; ox < y.width; ++ox)
          step.src_rows.push_back(std::int32_t((oy * g.stride * width + ox * g.stride) * channels));
    }
    multiply(std::move(step), kernel * kernel * channels, op.out, op.bias, x.buffer, y,
             [&](std::int64_t k, std::int64_t n) {
               const std::int64_t tap = k / channels, c = k % channels;
               return param(0)[(n * channels + c) * kernel * kernel + tap];
             });
  }

  void winograd(const Conv2d& op) {
    const Place x = source(0);
    WinogradConv step =
        winograd_conv(*program_.kernels, param(0), op.bias ? &param(1) : nullptr, x.height, x.width);
    step.activation = fuse_silu();
    Place y = x;
    y.channels = op.out;
    emit(std::move(step), {x.buffer}, y, y.size());
  }

  /// A copy of the map with zeros around it.
  Place padded(Place x, std::int64_t pad) {
    x.pad = pad;
    const int from = std::exchange(x.buffer, int(program_.buffers.size()));
    program_.buffers.push_back({.size = aligned_size(padded_size(x))});
    program_.steps.push_back({node().name, PadMap{x.channels, x.height, x.width, pad}, {from}, x.buffer, 0});
    return x;
  }

  /// Where a node's tokens lie.
  Place tokens_at(int index) const {
    const Place& x = places_[std::size_t(index)];
    if (!x.patch) unsupported(current_, "of what is not tokens");
    return x;
  }

  static ProjectedTokens tokens_of(const Place& x, const AttentionMatch& match) {
    return projected_tokens(x.height, x.width, x.channels, x.patch, match);
  }

  template <typename AttentionStep>
  void attend(AttentionStep step, const AttentionMatch& match, const Place& x) {
    Place y = x;
    y.channels = match.width;
    for (const int inner : match.nodes) done_[std::size_t(inner)] = true;
    std::int64_t macs = 0;
    for (const int inner : match.nodes) macs += macs_[std::size_t(inner)];
    emit(std::move(step), {x.buffer}, y, y.size());
    program_.steps.back().macs = macs;
  }

  const Graph& graph_;
  const Roundings& roundings_;
  std::vector<Shape> shapes_;
  std::vector<std::int64_t> macs_;
  std::vector<Place> places_;
  std::vector<bool> done_;
  std::vector<std::vector<int>> readers_;
  Program program_;
  int current_ = 0, fused_ = -1;
};

}  // namespace

Program compile(const Graph& graph, const FloatKernels& kernels, const Roundings& roundings) {
  const bool has_norms = std::ranges::any_of(
      graph.nodes, [](const Node& node) { return std::holds_alternative<BatchNorm>(node.op); });
  if (!has_norms) return Compiler(graph, kernels, roundings).run();  // without a copy of the weights
  const Graph folded = fold_batch_norm(graph);
  return Compiler(folded, kernels, roundings).run();
}

}  // namespace qhv
