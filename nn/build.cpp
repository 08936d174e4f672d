#include "nn/build.h"

#include "nn/shapes.h"

namespace qhv {

Value append(Graph& graph, const std::string& name, Op op, const std::vector<Value>& inputs) {
  std::vector<Shape> shapes;
  Node node{name, std::move(op), {}, {}};
  for (const Value& x : inputs) {
    require(x.graph == &graph, name, "input of another graph");
    node.inputs.push_back(x.node);
    shapes.push_back(x.shape);
  }
  Shape shape = infer_shape(node.op, shapes, 1, concat(op_name(node.op), ' ', name));
  for (auto& [role, parameter_shape] : parameter_shapes(node.op)) {
    node.params.push_back(int(graph.params.size()));
    graph.params.push_back({name + "." + role, graph.bare ? Tensor() : Tensor(parameter_shape)});
  }
  graph.nodes.push_back(std::move(node));
  return {&graph, int(graph.nodes.size()) - 1, std::move(shape)};
}

Value input(Graph& graph, const Input& op) { return append(graph, "input", op, {}); }

Value conv2d(const Value& x, const std::string& name, std::int64_t out, const ConvGeometry& geometry,
             bool bias) {
  require(x.shape.size() == 4, name, "input ", x.shape, " is not [B, C, H, W]");
  return append(*x.graph, name, Conv2d{x.shape[1], out, geometry, bias}, {x});
}

Value linear(const Value& x, const std::string& name, std::int64_t out) {
  require(!x.shape.empty(), name, "input ", x.shape, " has no axes");
  return append(*x.graph, name, Linear{x.shape.back(), out, true}, {x});
}

Value batch_norm(const Value& x, const std::string& name) {
  require(x.shape.size() >= 2, name, "input ", x.shape, " has no channels");
  return append(*x.graph, name, BatchNorm{x.shape[1]}, {x});
}

Value layer_norm(const Value& x, const std::string& name) {
  require(!x.shape.empty(), name, "input ", x.shape, " has no axes");
  return append(*x.graph, name, LayerNorm{x.shape.back()}, {x});
}

Value group_norm(const Value& x, const std::string& name) {
  require(x.shape.size() >= 2, name, "input ", x.shape, " has no channels");
  return append(*x.graph, name, GroupNorm{x.shape[1]}, {x});
}

Value silu(const Value& x, const std::string& name) { return append(*x.graph, name, Silu{}, {x}); }
Value relu(const Value& x, const std::string& name) { return append(*x.graph, name, Relu{}, {x}); }
Value softmax(const Value& x, const std::string& name) { return append(*x.graph, name, Softmax{}, {x}); }
Value sum_last(const Value& x, const std::string& name) { return append(*x.graph, name, SumLast{}, {x}); }
Value merge_heads(const Value& x, const std::string& name) {
  return append(*x.graph, name, MergeHeads{}, {x});
}

Value global_avg_pool(const Value& x, const std::string& name) {
  return append(*x.graph, name, GlobalAvgPool{}, {x});
}

Value add(const Value& a, const Value& b, const std::string& name) {
  return append(*a.graph, name, Add{}, {a, b});
}
Value mul(const Value& a, const Value& b, const std::string& name) {
  return append(*a.graph, name, Mul{}, {a, b});
}

Value matmul(const Value& a, const Value& b, const std::string& name, const MatMul& op) {
  return append(*a.graph, name, op, {a, b});
}

Value concat_axis(const std::vector<Value>& parts, const std::string& name, int axis) {
  require(!parts.empty(), name, "nothing to join");
  return append(*parts.front().graph, name, Concat{axis}, parts);
}

Value slice(const Value& x, const std::string& name, const Slice& op) {
  return append(*x.graph, name, op, {x});
}

Value split_heads(const Value& x, const std::string& name, int heads) {
  return append(*x.graph, name, SplitHeads{heads}, {x});
}

Value unfold_patches(const Value& x, const std::string& name, const UnfoldPatches& op) {
  return append(*x.graph, name, op, {x});
}

Value fold_patches(const Value& x, const std::string& name, const FoldPatches& op) {
  return append(*x.graph, name, op, {x});
}

Value resize_bilinear(const Value& x, const std::string& name, const ResizeBilinear& op) {
  return append(*x.graph, name, op, {x});
}

}  // namespace qhv
