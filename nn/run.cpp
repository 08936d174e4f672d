#include "nn/run.h"

namespace qhv {
namespace {

struct Evaluate {
  std::span<const Tensor*const> in, params;

  const Tensor& x(std::size_t i = 0) const { return *in[i]; }
  const Tensor& param(std::size_t i) const { return *params[i]; }
  const Tensor* bias(bool has) const { return has ? &param(1) : nullptr; }

  Tensor operator()(const Input& op) const {
    const Shape expected{x().rank() ? x().dim(0) : 0, op.channels, op.height, op.width};
    require(x().shape() == expected, "input", "shape ", x().shape(), " instead of ", expected);
    return x();
  }
  Tensor operator()(const Conv2d& op) const { return conv2d(x(), param(0), bias(op.bias), op.geometry); }
  Tensor operator()(const Linear& op) const { return linear(x(), param(0), bias(op.bias)); }
  Tensor operator()(const BatchNorm& op) const {
    return batch_norm(x(), param(0), param(1), param(2), param(3), op.eps);
  }
  Tensor operator()(const LayerNorm& op) const { return layer_norm(x(), param(0), param(1), op.eps); }
  Tensor operator()(const GroupNorm& op) const { return group_norm(x(), param(0), param(1), op.eps); }
  Tensor operator()(const Silu&) const { return silu(x()); }
  Tensor operator()(const Relu&) const { return relu(x()); }
  Tensor operator()(const Add&) const { return add(x(0), x(1)); }
  Tensor operator()(const Mul&) const { return mul(x(0), x(1)); }
  Tensor operator()(const MatMul& op) const { return matmul(x(0), x(1), op.transpose_b, op.scale); }
  Tensor operator()(const Softmax&) const { return softmax(x()); }
  Tensor operator()(const SumLast&) const { return sum_last(x()); }
  Tensor operator()(const GlobalAvgPool&) const { return global_avg_pool(x()); }
  Tensor operator()(const Concat& op) const { return concat_axis({in.begin(), in.end()}, op.axis); }
  Tensor operator()(const Slice& op) const { return slice(x(), op.axis, op.begin, op.end); }
  Tensor operator()(const SplitHeads& op) const { return split_heads(x(), op.heads); }
  Tensor operator()(const MergeHeads&) const { return merge_heads(x()); }
  Tensor operator()(const UnfoldPatches& op) const { return unfold_patches(x(), op.patch, op.layout); }
  Tensor operator()(const FoldPatches& op) const {
    return fold_patches(x(), op.patch, op.layout, op.height, op.width);
  }
  Tensor operator()(const ResizeBilinear& op) const {
    return resize_bilinear(x(), op.height, op.width, op.align_corners);
  }
};

}  // namespace

Tensor run_node(const Node& node, std::span<const Tensor* const> inputs,
                std::span<const Tensor* const> params) {
  return std::visit(Evaluate{inputs, params}, node.op);
}

Tensor run_node(const Graph& graph, int node, std::span<const Tensor* const> inputs) {
  const Node& n = graph.nodes[std::size_t(node)];
  std::vector<const Tensor*> params;
  for (const int p : n.params) params.push_back(&graph.params[std::size_t(p)].value);
  return run_node(n, inputs, params);
}

Tensor run(const Graph& graph, const Tensor& x, const RunHooks& hooks) {
  require(!graph.nodes.empty(), "run", "empty graph");
  const std::vector<int> last = last_uses(graph);
  std::vector<Tensor> values(graph.nodes.size());
  for (int i = 0; i < int(graph.nodes.size()); ++i) {
    const Node& node = graph.nodes[std::size_t(i)];
    const bool is_input = std::holds_alternative<Input>(node.op);
    std::vector<const Tensor*> inputs;
    for (const int input : node.inputs) inputs.push_back(&values[std::size_t(input)]);
    if (is_input) inputs.push_back(&x);

    std::optional<Tensor> computed;
    if (hooks.compute_node) computed = hooks.compute_node(i, inputs);
    std::vector<std::optional<Tensor>> replaced(node.inputs.size());
    if (hooks.on_edge && !computed)
      for (std::size_t slot = 0; slot < replaced.size(); ++slot) {
        replaced[slot] = hooks.on_edge({i, int(slot)}, *inputs[slot]);
        if (!replaced[slot]) continue;
        require(replaced[slot]->shape() == inputs[slot]->shape(), node.name, "input ", slot, " of shape ",
                inputs[slot]->shape(), " was replaced by one of shape ", replaced[slot]->shape());
        inputs[slot] = &*replaced[slot];
      }

    values[std::size_t(i)] = computed ? std::move(*computed) : run_node(graph, i, inputs);
    if (hooks.on_node) hooks.on_node(i, inputs, values[std::size_t(i)]);
    for (const int input : node.inputs)
      if (last[std::size_t(input)] == i) values[std::size_t(input)] = Tensor();
  }
  return std::move(values.back());
}

}  // namespace qhv
