// Writing a network down. A Value is a node of a graph under construction; the functions append a node and
// return it:
//
//   Value x = input(graph, {3, 256, 256});
//   x = silu(conv2d(x, "stem.conv", 16, {.kernel = 3, .stride = 2, .pad = 1}), "stem.act");
//
// Channel counts of the inputs follow from the shapes. Parameters appear in the graph as zeros, in a bare
// one empty, named "<node name>.weight" and so on; a checkpoint fills them. Misfits throw
// std::invalid_argument at the line that made them.
#pragma once

#include <string>
#include <vector>

#include "nn/graph.h"

namespace qhv {

struct Value {
  Graph* graph = nullptr;
  int node = -1;
  Shape shape;  // at batch 1
};

/// Appends a node with its parameters.
Value append(Graph& graph, const std::string& name, Op op, const std::vector<Value>& inputs);

Value input(Graph& graph, const Input& op);
Value conv2d(const Value& x, const std::string& name, std::int64_t out, const ConvGeometry& geometry,
             bool bias = false);
Value linear(const Value& x, const std::string& name, std::int64_t out);
Value batch_norm(const Value& x, const std::string& name);
Value layer_norm(const Value& x, const std::string& name);
Value group_norm(const Value& x, const std::string& name);
Value silu(const Value& x, const std::string& name);
Value relu(const Value& x, const std::string& name);
Value add(const Value& a, const Value& b, const std::string& name);
Value mul(const Value& a, const Value& b, const std::string& name);
Value matmul(const Value& a, const Value& b, const std::string& name, const MatMul& op);
Value softmax(const Value& x, const std::string& name);
Value sum_last(const Value& x, const std::string& name);
Value global_avg_pool(const Value& x, const std::string& name);
Value concat_axis(const std::vector<Value>& parts, const std::string& name, int axis);
Value slice(const Value& x, const std::string& name, const Slice& op);
Value split_heads(const Value& x, const std::string& name, int heads);
Value merge_heads(const Value& x, const std::string& name);
Value unfold_patches(const Value& x, const std::string& name, const UnfoldPatches& op);
Value fold_patches(const Value& x, const std::string& name, const FoldPatches& op);
Value resize_bilinear(const Value& x, const std::string& name, const ResizeBilinear& op);

/// Records the nodes appended between its making and close() as a block.
class BlockScope {
 public:
  BlockScope(Graph& graph, std::string name, BlockKind kind)
      : graph_(graph), block_{std::move(name), kind, int(graph.nodes.size()), 0} {}
  void close() {
    block_.end = int(graph_.nodes.size());
    graph_.blocks.push_back(block_);
  }

 private:
  Graph& graph_;
  Block block_;
};

}  // namespace qhv
