#include "nn/graph.h"

#include <iomanip>
#include <set>

#include "nn/shapes.h"
#include "tensor/untrusted.h"

namespace qhv {
namespace {

struct OpName {
  const char* operator()(const Input&) const { return "input"; }
  const char* operator()(const Conv2d&) const { return "conv2d"; }
  const char* operator()(const Linear&) const { return "linear"; }
  const char* operator()(const BatchNorm&) const { return "batch_norm"; }
  const char* operator()(const LayerNorm&) const { return "layer_norm"; }
  const char* operator()(const GroupNorm&) const { return "group_norm"; }
  const char* operator()(const Silu&) const { return "silu"; }
  const char* operator()(const Relu&) const { return "relu"; }
  const char* operator()(const Add&) const { return "add"; }
  const char* operator()(const Mul&) const { return "mul"; }
  const char* operator()(const MatMul&) const { return "matmul"; }
  const char* operator()(const Softmax&) const { return "softmax"; }
  const char* operator()(const SumLast&) const { return "sum_last"; }
  const char* operator()(const GlobalAvgPool&) const { return "global_avg_pool"; }
  const char* operator()(const Concat&) const { return "concat"; }
  const char* operator()(const Slice&) const { return "slice"; }
  const char* operator()(const SplitHeads&) const { return "split_heads"; }
  const char* operator()(const MergeHeads&) const { return "merge_heads"; }
  const char* operator()(const UnfoldPatches&) const { return "unfold_patches"; }
  const char* operator()(const FoldPatches&) const { return "fold_patches"; }
  const char* operator()(const ResizeBilinear&) const { return "resize_bilinear"; }
};

/// The attributes that the shapes do not show.
struct OpDetails {
  std::string operator()(const Conv2d& op) const {
    const ConvGeometry& g = op.geometry;
    return concat("k", g.kernel, " s", g.stride, " g", g.groups);
  }
  std::string operator()(const MatMul& op) const {
    return concat(op.transpose_b ? "b^T" : "", op.scale != 1 ? concat(" * ", op.scale) : "");
  }
  std::string operator()(const Slice& op) const {
    return concat("axis ", op.axis, ", ", op.begin, " .. ", op.end);
  }
  std::string operator()(const ResizeBilinear& op) const { return op.align_corners ? "align_corners" : ""; }
  template <typename Other>
  std::string operator()(const Other&) const {
    return "";
  }
};

}  // namespace

const char* op_name(const Op& op) { return std::visit(OpName{}, op); }

int find_node(const Graph& graph, const std::string& name) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    if (graph.nodes[i].name == name) return int(i);
  fail("graph", concat("no node ", in_quotes(name)));
}

std::vector<int> last_uses(const Graph& graph) {
  std::vector<int> last(graph.nodes.size(), -1);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    for (const int input : graph.nodes[i].inputs) last[std::size_t(input)] = int(i);
  if (!last.empty()) last.back() = int(graph.nodes.size());
  return last;
}

bool is_trainable(const Param& param) {
  return !param.name.ends_with("running_mean") && !param.name.ends_with("running_var");
}

std::int64_t parameter_count(const Graph& graph) {
  const std::vector<Shape> shapes = parameter_shapes(graph);
  std::int64_t count = 0;
  for (std::size_t i = 0; i < shapes.size(); ++i)
    if (is_trainable(graph.params[i])) count += element_count(shapes[i]);
  return count;
}

void validate(const Graph& graph) {
  require(!graph.nodes.empty(), "graph", "no nodes");
  std::set<std::string> names;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const std::string where = concat(op_name(node.op), ' ', node.name);
    require(names.insert(node.name).second, where, "the name is taken by an earlier node");
    require(std::holds_alternative<Input>(node.op) == (i == 0), where,
            "the first node, and no other, is the input");
    for (const int input : node.inputs)
      require(input >= 0 && input < int(i), where, "node ", i, " reads node ", input,
              ", which does not come before it");
    if (const auto* conv = std::get_if<Conv2d>(&node.op)) validate(conv->geometry, where);
    const auto expected = parameter_shapes(node.op);
    require(node.params.size() == expected.size(), where, node.params.size(), " parameters instead of ",
            expected.size());
    for (std::size_t j = 0; j < expected.size(); ++j) {
      const int index = node.params[j];
      require(index >= 0 && std::size_t(index) < graph.params.size(), where, "no parameter ", index);
      const Shape& shape = graph.params[std::size_t(index)].value.shape();
      require(graph.bare || shape == expected[j].second, where, expected[j].first, " has shape ", shape,
              " instead of ", expected[j].second);
    }
  }
  for (const Block& block : graph.blocks)
    require(0 <= block.begin && block.begin < block.end && std::size_t(block.end) <= graph.nodes.size(),
            block.name, "block of nodes ", block.begin, " .. ", block.end, " in a graph of ",
            graph.nodes.size());
  infer_shapes(graph);
}

std::string dump(const Graph& graph) {
  const std::vector<Shape> shapes = infer_shapes(graph);
  const std::vector<std::int64_t> macs = mac_counts(graph);
  std::ostringstream out;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    std::string inputs;
    for (const int input : node.inputs) inputs += concat(inputs.empty() ? "" : ", ", input);
    std::int64_t elements = 0;
    for (const int p : node.params) elements += graph.params[std::size_t(p)].value.size();
    out << std::right << std::setw(4) << i << "  " << std::left << std::setw(16) << op_name(node.op)
        << std::setw(44) << node.name << std::setw(20) << concat(shapes[i]) << std::setw(12)
        << ("<- " + inputs) << std::right << std::setw(9) << elements << " params" << std::setw(12) << macs[i]
        << " MACs  " << std::visit(OpDetails{}, node.op) << '\n';
  }
  return out.str();
}

}  // namespace qhv
