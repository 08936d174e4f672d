// A network as data: a list of nodes in an order in which they can be computed, and a list of parameters.
//
// Node i reads only nodes before i; the last node is the output. There are no pointers between nodes, so a
// graph is copied, searched, rewritten and printed by plain loops. An operator is a small struct of its
// attributes; whoever interprets a graph is a visitor with one case for each (run.cpp, shapes.cpp, ...), so a
// forgotten operator does not compile.
//
// The weights are in the graph: copy it to get a second network.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "tensor/ops.h"
#include "tensor/tensor.h"

namespace qhv {

struct Input {
  std::int64_t channels = 3, height = 0, width = 0;
};
struct Conv2d {  // parameters: weight [out, in / groups, kernel, kernel], bias [out] if any
  std::int64_t in = 0, out = 0;
  ConvGeometry geometry;
  bool bias = false;
};
struct Linear {  // parameters: weight [out, in], bias [out] if any
  std::int64_t in = 0, out = 0;
  bool bias = true;
};
struct BatchNorm {  // parameters: weight, bias, running_mean, running_var, each [channels]; inference mode
  std::int64_t channels = 0;
  double eps = 1e-5;
};
struct LayerNorm {  // parameters: weight, bias [channels]; over the last axis
  std::int64_t channels = 0;
  double eps = 1e-5;
};
struct GroupNorm {  // parameters: weight, bias [channels]; one group
  std::int64_t channels = 0;
  double eps = 1e-5;
};
struct Silu {};
struct Relu {};
struct Add {};
struct Mul {};
struct MatMul {
  bool transpose_b = false;
  double scale = 1;
};
struct Softmax {};
struct SumLast {};
struct GlobalAvgPool {};
struct Concat {
  int axis = 1;
};
struct Slice {
  int axis = 1;
  std::int64_t begin = 0, end = 0;
};
struct SplitHeads {
  int heads = 1;
};
struct MergeHeads {};
struct UnfoldPatches {
  int patch = 2;
  PatchLayout layout = PatchLayout::kTokens;
};
struct FoldPatches {
  int patch = 2;
  PatchLayout layout = PatchLayout::kTokens;
  std::int64_t height = 0, width = 0;
};
struct ResizeBilinear {
  std::int64_t height = 0, width = 0;
  bool align_corners = false;
};

using Op = std::variant<Input, Conv2d, Linear, BatchNorm, LayerNorm, GroupNorm, Silu, Relu, Add, Mul, MatMul,
                        Softmax, SumLast, GlobalAvgPool, Concat, Slice, SplitHeads, MergeHeads, UnfoldPatches,
                        FoldPatches, ResizeBilinear>;

/// "conv2d", "layer_norm", ...
const char* op_name(const Op& op);

struct Node {
  std::string name;  // unique; a node with parameters has the name of its module in timm
  Op op;
  std::vector<int> inputs;  // node indices, all smaller than this node's
  std::vector<int> params;  // indices into Graph::params, in the order that the operator states
};

struct Param {
  std::string name;  // "<node>.weight" and so on
  Tensor value;
  TensorI8 codes = {};  // in a bare graph, of a weight for the integer engine: quant/integer/weight_codes.h
};

/// A stretch of nodes that means something to a reader or to block-wise quantisation. Blocks nest; the output
/// of a block is the output of its last node.
enum class BlockKind { kStem, kStage, kInvertedResidual, kMobileVit, kBridge, kTransformer, kFusion, kHead };

struct Block {
  std::string name;  // timm's name of the module; parts that timm does not name end in ".bridge" or ".fusion"
  BlockKind kind;
  int begin, end;  // nodes begin .. end-1
};

/// Nodes begin .. end-1.
struct NodeRange {
  int begin = 0, end = 0;
};

struct Graph {
  std::vector<Node> nodes;
  std::vector<Param> params;
  std::vector<Block> blocks;
  /// Whether values may be missing (empty): of a network that is about to be loaded, or runs in integers
  /// only.
  bool bare = false;
};

/// Index of the node of this name. Throws std::invalid_argument if there is none.
int find_node(const Graph& graph, const std::string& name);

/// For every node the last node that reads it; the graph's size for the output.
std::vector<int> last_uses(const Graph& graph);

/// Whether training changes it by gradients: all parameters but running means and variances.
bool is_trainable(const Param& param);

/// Elements of the trainable parameters.
std::int64_t parameter_count(const Graph& graph);

/// Throws std::invalid_argument, naming the node, unless the order, the names, the arities, the parameters'
/// shapes (of a graph that is not bare) and all inferred shapes fit.
void validate(const Graph& graph);

/// One line for each node: index, operator, name, output shape at batch 1, inputs, parameters,
/// multiply-accumulates.
std::string dump(const Graph& graph);

}  // namespace qhv
