#include "nn/shapes.h"

#include <algorithm>

namespace qhv {
namespace {

struct InferShape {
  std::span<const Shape> in;
  std::int64_t batch;
  const std::string& name;

  template <typename... Parts>
  void check(bool ok, const Parts&... parts) const {
    require(ok, name, parts...);
  }
  void arity(std::size_t count) const { check(in.size() == count, in.size(), " inputs instead of ", count); }
  const Shape& only() const {
    arity(1);
    return in[0];
  }
  const Shape& map() const {
    check(only().size() == 4, "input ", in[0], " is not [B, C, H, W]");
    return in[0];
  }
  const Shape& channels_at(std::size_t axis, std::int64_t channels) const {
    check(axis < only().size() && in[0][axis] == channels, "input ", in[0], " for ", channels, " channels");
    return in[0];
  }
  const Shape& last_is(std::int64_t channels) const {
    check(!only().empty(), "input ", in[0], " has no axes");
    return channels_at(in[0].size() - 1, channels);
  }

  Shape operator()(const Input& op) const {
    arity(0);
    check(op.channels > 0 && op.height > 0 && op.width > 0, "empty input");
    return {batch, op.channels, op.height, op.width};
  }
  Shape operator()(const Conv2d& op) const {
    const Shape& x = map();
    const ConvGeometry& g = op.geometry;
    validate(g, name);
    channels_at(1, op.in);
    check(op.in % g.groups == 0 && op.out % g.groups == 0, op.in, " -> ", op.out, " channels in ", g.groups,
          " groups");
    check(x[2] + 2 * g.pad >= g.kernel && x[3] + 2 * g.pad >= g.kernel, "input ", x, " for a kernel of ",
          g.kernel);
    return {x[0], op.out, conv_extent(x[2], g), conv_extent(x[3], g)};
  }
  Shape operator()(const Linear& op) const {
    Shape y = last_is(op.in);
    y.back() = op.out;
    return y;
  }
  Shape operator()(const BatchNorm& op) const { return channels_at(1, op.channels); }
  Shape operator()(const LayerNorm& op) const { return last_is(op.channels); }
  Shape operator()(const GroupNorm& op) const { return channels_at(1, op.channels); }
  Shape operator()(const Silu&) const { return only(); }
  Shape operator()(const Relu&) const { return only(); }
  Shape operator()(const Softmax&) const { return only(); }
  Shape operator()(const Add&) const {
    arity(2);
    check(in[0] == in[1], "inputs ", in[0], " and ", in[1]);
    return in[0];
  }
  Shape operator()(const Mul&) const {
    arity(2);
    check(in[0].size() == in[1].size(), "inputs ", in[0], " and ", in[1]);
    Shape y = in[0];
    for (std::size_t i = 0; i < y.size(); ++i) {
      check(in[0][i] == in[1][i] || in[0][i] == 1 || in[1][i] == 1, "inputs ", in[0], " and ", in[1]);
      if (y[i] == 1) y[i] = in[1][i];
    }
    return y;
  }
  Shape operator()(const MatMul& op) const {
    arity(2);
    const Shape &a = in[0], &b = in[1];
    const std::size_t rank = a.size();
    check(rank >= 2 && b.size() == rank, "operands ", a, " and ", b);
    for (std::size_t i = 0; i + 2 < rank; ++i) check(a[i] == b[i], "operands ", a, " and ", b);
    check(a[rank - 1] == b[op.transpose_b ? rank - 1 : rank - 2], "operands ", a, " and ", b,
          op.transpose_b ? "^T" : "");
    Shape y = a;
    y.back() = b[op.transpose_b ? rank - 2 : rank - 1];
    return y;
  }
  Shape operator()(const SumLast&) const {
    check(!only().empty(), "input ", in[0], " has no axes");
    Shape y = in[0];
    y.back() = 1;
    return y;
  }
  Shape operator()(const GlobalAvgPool&) const { return {map()[0], in[0][1]}; }
  Shape operator()(const Concat& op) const {
    check(!in.empty() && op.axis >= 0 && std::size_t(op.axis) < in[0].size(), "axis ", op.axis);
    Shape y = in[0];
    const std::size_t axis = std::size_t(op.axis);
    for (const Shape& part : in.subspan(1)) {
      check(part.size() == y.size(), "inputs ", in[0], " and ", part);
      for (std::size_t i = 0; i < y.size(); ++i)
        check(i == axis || part[i] == y[i], "inputs ", in[0], " and ", part);
      y[axis] += part[axis];
    }
    return y;
  }
  Shape operator()(const Slice& op) const {
    Shape y = only();
    const std::size_t axis = std::size_t(op.axis);
    check(op.axis >= 0 && axis < y.size() && 0 <= op.begin && op.begin <= op.end && op.end <= y[axis],
          op.begin, " .. ", op.end, " of axis ", op.axis, " of ", y);
    y[axis] = op.end - op.begin;
    return y;
  }
  Shape operator()(const SplitHeads& op) const {
    const Shape& x = only();
    check(x.size() == 3 && op.heads > 0 && x[2] % op.heads == 0, "input ", x, " for ", op.heads, " heads");
    return {x[0], op.heads, x[1], x[2] / op.heads};
  }
  Shape operator()(const MergeHeads&) const { return {map()[0], in[0][2], in[0][1] * in[0][3]}; }
  Shape operator()(const UnfoldPatches& op) const {
    const Shape& x = map();
    check(op.patch > 0 && x[2] % op.patch == 0 && x[3] % op.patch == 0, "input ", x, " in patches of ",
          op.patch);
    const std::int64_t positions = std::int64_t(op.patch) * op.patch, patches = x[2] * x[3] / positions;
    if (op.layout == PatchLayout::kTokens) return {x[0] * positions, patches, x[1]};
    return {x[0], x[1], positions, patches};
  }
  Shape operator()(const FoldPatches& op) const {
    const Shape& x = only();
    const bool tokens = op.layout == PatchLayout::kTokens;
    const std::int64_t positions = std::int64_t(op.patch) * op.patch;
    check(x.size() == (tokens ? 3u : 4u) && op.patch > 0, "input ", x);
    const Shape y{tokens ? x[0] / positions : x[0], tokens ? x[2] : x[1], op.height, op.width};
    check(x == InferShape{{&y, 1}, batch, name}(UnfoldPatches{op.patch, op.layout}), "input ", x, " to ", y);
    return y;
  }
  Shape operator()(const ResizeBilinear& op) const {
    const Shape& x = map();
    check(op.height > 0 && op.width > 0, "to ", op.height, " x ", op.width);
    return {x[0], x[1], op.height, op.width};
  }
};

struct ParameterShapes {
  using Result = std::vector<std::pair<std::string, Shape>>;

  static Result with_bias(Shape weight, std::int64_t out, bool bias) {
    Result result{{"weight", std::move(weight)}};
    if (bias) result.push_back({"bias", {out}});
    return result;
  }
  Result operator()(const Conv2d& op) const {
    return with_bias({op.out, op.in / op.geometry.groups, op.geometry.kernel, op.geometry.kernel}, op.out,
                     op.bias);
  }
  Result operator()(const Linear& op) const { return with_bias({op.out, op.in}, op.out, op.bias); }
  Result operator()(const BatchNorm& op) const {
    return {{"weight", {op.channels}},
            {"bias", {op.channels}},
            {"running_mean", {op.channels}},
            {"running_var", {op.channels}}};
  }
  Result operator()(const LayerNorm& op) const { return with_bias({op.channels}, op.channels, true); }
  Result operator()(const GroupNorm& op) const { return with_bias({op.channels}, op.channels, true); }
  template <typename Other>
  Result operator()(const Other&) const {
    return {};
  }
};

struct MacCount {
  std::span<const Shape> in;
  const Shape& out;

  std::int64_t operator()(const Conv2d& op) const {
    return element_count(out) * (op.in / op.geometry.groups) * op.geometry.kernel * op.geometry.kernel;
  }
  std::int64_t operator()(const Linear& op) const { return element_count(out) * op.in; }
  std::int64_t operator()(const MatMul&) const { return element_count(out) * in[0].back(); }
  template <typename Other>
  std::int64_t operator()(const Other&) const {
    return 0;
  }
};

std::vector<Shape> input_shapes(const Node& node, const std::vector<Shape>& shapes) {
  std::vector<Shape> in;
  for (const int i : node.inputs) in.push_back(shapes[std::size_t(i)]);
  return in;
}

}  // namespace

Shape infer_shape(const Op& op, std::span<const Shape> inputs, std::int64_t batch, const std::string& name) {
  return std::visit(InferShape{inputs, batch, name}, op);
}

std::vector<Shape> infer_shapes(const Graph& graph, std::int64_t batch) {
  std::vector<Shape> shapes;
  for (const Node& node : graph.nodes)
    shapes.push_back(
        infer_shape(node.op, input_shapes(node, shapes), batch, concat(op_name(node.op), ' ', node.name)));
  return shapes;
}

void check_batch(const Tensor& x, const Shape& image, std::int64_t most, std::string_view op) {
  const auto expected = [&] {
    Shape shape = image;
    shape.insert(shape.begin(), x.rank() ? x.dim(0) : 0);
    return shape;
  };
  if (x.rank() != int(image.size()) + 1 || !std::equal(image.begin(), image.end(), x.shape().begin() + 1))
    fail(op, concat("input ", x.shape(), " instead of ", expected()));
  require(x.dim(0) >= 1 && x.dim(0) <= most, op, x.dim(0), " images in a batch of up to ", most);
}

std::vector<std::pair<std::string, Shape>> parameter_shapes(const Op& op) {
  return std::visit(ParameterShapes{}, op);
}

std::vector<Shape> parameter_shapes(const Graph& graph) {
  std::vector<Shape> shapes(graph.params.size());
  for (const Node& node : graph.nodes) {
    auto of_node = parameter_shapes(node.op);
    for (std::size_t i = 0; i < of_node.size(); ++i)
      shapes[std::size_t(node.params[i])] = std::move(of_node[i].second);
  }
  return shapes;
}

std::int64_t mac_count(const Op& op, std::span<const Shape> inputs, const Shape& output) {
  return std::visit(MacCount{inputs, output}, op);
}

std::vector<std::int64_t> mac_counts(const Graph& graph) {
  const std::vector<Shape> shapes = infer_shapes(graph);
  std::vector<std::int64_t> macs;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    macs.push_back(mac_count(graph.nodes[i].op, input_shapes(graph.nodes[i], shapes), shapes[i]));
  return macs;
}

}  // namespace qhv
