#include "nn/run_tape.h"

#include <set>

#include "nn/attention.h"

namespace qhv {
namespace {

struct Record {
  const Node& node;
  int index;
  NormMode mode;
  const std::vector<Var>& in;
  const std::vector<Var>& params;
  std::map<int, BatchStatistics>& statistics;

  Var x(std::size_t i = 0) const { return in[i]; }
  Var param(std::size_t i) const { return params[i]; }
  std::optional<Var> bias(bool has) const { return has ? std::optional(params[1]) : std::nullopt; }

  Var operator()(const Input&) const { fail(node.name, "no value was given for the input"); }
  Var operator()(const Conv2d& op) const { return conv2d(x(), param(0), bias(op.bias), op.geometry); }
  Var operator()(const Linear& op) const { return linear(x(), param(0), bias(op.bias)); }
  Var operator()(const BatchNorm& op) const {
    if (mode == NormMode::kInference) return batch_norm(x(), param(0), param(1), param(2), param(3), op.eps);
    BatchNormTrain result = batch_norm_train(x(), param(0), param(1), op.eps);
    statistics.emplace(index, std::move(result.statistics));
    return result.y;
  }
  Var operator()(const LayerNorm& op) const { return layer_norm(x(), param(0), param(1), op.eps); }
  Var operator()(const GroupNorm& op) const { return group_norm(x(), param(0), param(1), op.eps); }
  Var operator()(const Silu&) const { return silu(x()); }
  Var operator()(const Relu&) const { return relu(x()); }
  Var operator()(const Add&) const { return add(x(0), x(1)); }
  Var operator()(const Mul&) const { return mul(x(0), x(1)); }
  Var operator()(const MatMul& op) const { return matmul(x(0), x(1), op.transpose_b, op.scale); }
  Var operator()(const Softmax&) const { return softmax(x()); }
  Var operator()(const SumLast&) const { return sum_last(x()); }
  Var operator()(const GlobalAvgPool&) const { return global_avg_pool(x()); }
  Var operator()(const Concat& op) const { return concat_axis(in, op.axis); }
  Var operator()(const Slice& op) const { return slice(x(), op.axis, op.begin, op.end); }
  Var operator()(const SplitHeads& op) const { return split_heads(x(), op.heads); }
  Var operator()(const MergeHeads&) const { return merge_heads(x()); }
  Var operator()(const UnfoldPatches& op) const { return unfold_patches(x(), op.patch, op.layout); }
  Var operator()(const FoldPatches& op) const {
    return fold_patches(x(), op.patch, op.layout, op.height, op.width);
  }
  Var operator()(const ResizeBilinear& op) const {
    return resize_bilinear(x(), op.height, op.width, op.align_corners);
  }
};

/// Backpropagates through one segment, from the gradient of its last node's output to that of `boundary`.
struct SegmentGradient {
  const Graph& graph;
  const BackpropagateOptions& options;
  Backpropagated& result;

  /// `seed` gets the segment's output and seeds the tape. Returns the gradient of the value before the
  /// segment.
  Tensor operator()(NodeRange range, const Tensor& boundary, bool wants_boundary,
                    const std::function<void(Tape&, Var output)>& seed) {
    Tape tape;
    const int before = range.begin - 1;
    const Var start = tape.borrow(boundary, wants_boundary);
    const Recorded run = record(tape, graph, {{before, start}},
                                {.range = range,
                                 .mode = options.mode,
                                 .wanted_params = options.wanted_params,
                                 .fuse_attention = true});
    result.statistics.insert(run.statistics.begin(), run.statistics.end());
    seed(tape, run.node(range.end - 1));
    tape.backward();
    for (std::size_t p = 0; p < run.params.size(); ++p)
      if (run.params[p] && tape.wants(run.params[p]->id))
        result.params[p] = tape.take_gradient(*run.params[p]);
    return wants_boundary ? tape.take_gradient(start) : Tensor();
  }
};

/// Output of the nodes of `range`, which read only `boundary` from before it.
Tensor run_segment(const Graph& graph, NodeRange range, const Tensor& boundary, NormMode mode) {
  Tape tape;
  const Recorded run = record(tape, graph, {{range.begin - 1, tape.borrow(boundary, false)}},
                              {.range = range, .mode = mode, .fuse_attention = true});
  return run.node(range.end - 1).value();
}

/// The nodes of fused attention: the last one of each with all of them, the others with nothing.
std::map<int, std::optional<AttentionNodes>> fused_nodes(const Graph& graph, const std::map<int, Var>& given,
                                                         const RecordOptions& options) {
  std::map<int, std::optional<AttentionNodes>> fused;
  if (!options.fuse_attention) return fused;
  require(!options.on_edge, "record", "fused attention has no edges inside");
  for (const AttentionNodes& nodes : find_attention(graph, options.range)) {
    if (given.count(nodes.scores) || given.count(nodes.probabilities)) continue;
    fused[nodes.scores] = fused[nodes.probabilities] = std::nullopt;
    fused[nodes.context] = nodes;
  }
  return fused;
}

Var record_attention(const Graph& graph, const Recorded& run, const AttentionNodes& nodes) {
  const Node& scores = graph.nodes[std::size_t(nodes.scores)];
  return attention(run.node(scores.inputs[0]), run.node(scores.inputs[1]),
                   run.node(graph.nodes[std::size_t(nodes.context)].inputs[1]),
                   std::get<MatMul>(scores.op).scale);
}

}  // namespace

Recorded record(Tape& tape, const Graph& graph, const std::map<int, Var>& given,
                const RecordOptions& options) {
  require(options.range.begin >= 0 && options.range.begin <= options.range.end &&
              options.range.end <= int(graph.nodes.size()),
          "record", "nodes ", options.range.begin, " .. ", options.range.end, " of ", graph.nodes.size());
  require(options.wanted_params.empty() || options.wanted_params.size() == graph.params.size(), "record",
          options.wanted_params.size(), " wanted parameters of ", graph.params.size());
  Recorded run;
  run.nodes.resize(graph.nodes.size());
  run.params.resize(graph.params.size());
  for (const auto& [index, var] : given) run.nodes.at(std::size_t(index)) = var;

  const auto param = [&](int p) {
    std::optional<Var>& used = run.params[std::size_t(p)];
    if (!used && options.on_param) used = options.on_param(p);
    if (!used)
      used = tape.borrow(graph.params[std::size_t(p)].value,
                         !options.wanted_params.empty() && options.wanted_params[std::size_t(p)]);
    return *used;
  };
  const std::map<int, std::optional<AttentionNodes>> fused = fused_nodes(graph, given, options);
  for (int i = options.range.begin; i < options.range.end; ++i) {
    std::optional<Var>& value = run.nodes[std::size_t(i)];
    if (value) continue;
    if (const auto attention = fused.find(i); attention != fused.end()) {
      if (attention->second) value = record_attention(graph, run, *attention->second);
      continue;
    }
    const Node& node = graph.nodes[std::size_t(i)];
    std::vector<Var> inputs, params;
    for (const int input : node.inputs) {
      require(run.nodes[std::size_t(input)].has_value(), node.name, "its input ",
              graph.nodes[std::size_t(input)].name, " lies outside of the range and was not given");
      Var x = run.node(input);
      if (options.on_edge) x = options.on_edge({i, int(inputs.size())}, x).value_or(x);
      inputs.push_back(x);
    }
    const bool batch_norm_training =
        options.mode == NormMode::kTraining && std::holds_alternative<BatchNorm>(node.op);
    for (std::size_t p = 0; p < (batch_norm_training ? 2 : node.params.size()); ++p)
      params.push_back(param(node.params[p]));
    value = std::visit(Record{node, i, options.mode, inputs, params, run.statistics}, node.op);
  }
  return run;
}

std::vector<bool> trainable_params(const Graph& graph) {
  std::vector<bool> trainable;
  for (const Param& p : graph.params) trainable.push_back(is_trainable(p));
  return trainable;
}

std::vector<int> recomputation_cuts(const Graph& graph) {
  const std::vector<int> last = last_uses(graph);
  std::set<int> cuts{int(graph.nodes.size())};
  for (const Block& block : graph.blocks) {
    int alive = 0;
    for (int i = 0; i < block.end; ++i) alive += last[std::size_t(i)] >= block.end;
    if (alive == 1) cuts.insert(block.end);
  }
  return {cuts.begin(), cuts.end()};
}

Backpropagated backpropagate(const Graph& graph, const Tensor& x, const std::function<Var(Var output)>& loss,
                             const BackpropagateOptions& options) {
  require(!graph.nodes.empty() && std::holds_alternative<Input>(graph.nodes[0].op), "backpropagate",
          "the graph does not begin with its input");
  const Input& input = std::get<Input>(graph.nodes[0].op);
  const Shape expected{x.rank() ? x.dim(0) : 0, input.channels, input.height, input.width};
  require(x.shape() == expected, "input", "shape ", x.shape(), " instead of ", expected);

  std::vector<NodeRange> segments;
  int begin = 1;
  for (const int cut : options.recompute ? recomputation_cuts(graph) : std::vector{int(graph.nodes.size())}) {
    segments.push_back({begin, cut});
    begin = cut;
  }
  // values[i] is what segment i + 1 reads; segment 0 reads x.
  std::vector<Tensor> values;
  for (std::size_t i = 0; i + 1 < segments.size(); ++i)
    values.push_back(run_segment(graph, segments[i], i ? values[i - 1] : x, options.mode));

  Backpropagated result;
  result.params.resize(graph.params.size());
  SegmentGradient segment_gradient{graph, options, result};
  Tensor dy;
  for (std::size_t i = segments.size(); i-- > 0;) {
    const bool last = i + 1 == segments.size();
    dy = segment_gradient(segments[i], i ? values[i - 1] : x, i > 0 || options.input,
                          [&](Tape& tape, Var output) {
                            if (!last) return tape.seed(output, std::move(dy));
                            result.output = output.value();
                            const Var scalar = loss(output);
                            require(scalar.shape() == Shape{}, "backpropagate", "a loss of shape ",
                                    scalar.shape(), " is not a scalar");
                            result.loss = scalar.value()[0];
                            tape.seed(scalar, Tensor(Shape{}, 1));
                          });
    if (i) values[i - 1] = Tensor();
  }
  result.input = std::move(dy);
  return result;
}

}  // namespace qhv
