#include "tests/integer_networks.h"

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "nn/run.h"
#include "nn/shapes.h"
#include "quant/fake_quant.h"
#include "quant/integer/engine.h"
#include "quant/integer/lower.h"
#include "quant/methods/methods.h"
#include "quant/observer.h"
#include "tests/support.h"

namespace qhv::test {
namespace {

/// Where the tensors of a network keep what its integer program keeps in rows of pixels.
class Layout {
 public:
  explicit Layout(const Graph& graph)
      : shapes_(infer_shapes(graph)), patch_(graph.nodes.size(), 0), sides_(graph.nodes.size(), 0) {
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      const Node& node = graph.nodes[i];
      if (!node.inputs.empty()) {
        patch_[i] = patch_[std::size_t(node.inputs[0])];
        sides_[i] = sides_[std::size_t(node.inputs[0])];
      }
      if (const auto* unfold = std::get_if<UnfoldPatches>(&node.op)) patch_[i] = unfold->patch;
      if (std::holds_alternative<FoldPatches>(node.op)) patch_[i] = 0;
      if (shapes_[i].size() == 4 && !patch_[i]) sides_[i] = shapes_[i][2];
    }
  }

  /// Element of channel c of row r of what this node puts out.
  std::int64_t place(int node, std::int64_t r, std::int64_t c) const {
    const auto i = std::size_t(node);
    const Shape& shape = shapes_[i];
    const std::int64_t patch = patch_[i], side = sides_[i],
                       tokens = patch ? side * side / (patch * patch) : 0;
    if (patch) {  // to the token of this pixel: [position][patch]
      const std::int64_t y = r / side, x = r % side;
      r = (y % patch * patch + x % patch) * tokens + y / patch * (side / patch) + x / patch;
    }
    if (shape.size() == 4) return c * (element_count(shape) / shape[1]) + r;
    return r * shape.back() + c;
  }
  const Shape& shape(int node) const { return shapes_[std::size_t(node)]; }

 private:
  std::vector<Shape> shapes_;
  std::vector<std::int64_t> patch_, sides_;
};

}  // namespace

Tensor image_for(const Graph& graph, std::uint64_t seed, std::int64_t batch) {
  const Input& in = std::get<Input>(graph.nodes[0].op);
  return random_tensor({batch, in.channels, in.height, in.width}, seed, 0, 1);
}

QuantizedGraph quantized(const Graph& graph, const char* method, int wbits, int abits, bool full) {
  const std::vector<Tensor> images{image_for(graph, 70), image_for(graph, 71)};
  return quantize_graph(find_method(method), graph,
                        {.images = images, .wbits = wbits, .abits = abits, .threads = 2, .full = full});
}

void give_weights_zero_points(QuantizedGraph& q, const Graph& graph) {
  for (LayerPlan& layer : q.plan.layers) {
    if (!layer.weight) continue;
    const int param = graph.nodes[std::size_t(find_node(graph, layer.node))].params[0];
    std::vector<Range> ranges = channel_ranges(graph.params[std::size_t(param)].value, 0);
    for (Range& r : ranges) r.hi *= 0.5;
    layer.weight->quantizer = affine_params(ranges, 8, 0);
  }
  q.graph = graph;
  quantize_weights(q.graph, q.plan);
}

std::map<std::string, Agreement> layer_by_layer(const QuantizedGraph& q, const Tensor& image) {
  std::vector<StoredInput> inputs;
  const IntegerProgram program = lower(q.graph, q.plan, &inputs);
  IntegerEngine engine(program, 1, 1);
  std::vector<TensorI32> stored(inputs.size());
  engine.run(image, [&](std::size_t step) {
    for (const Output& output : program.steps[step].store.outputs)
      for (std::size_t i = 0; i < inputs.size(); ++i)
        if (inputs[i].form.buffer == output.buffer) stored[i] = engine.codes(inputs[i].form);
  });
  struct Plane {
    Encoding encoding;
    TensorI32 codes;
  };
  std::map<std::pair<int, int>, std::vector<Plane>> planes_of;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    planes_of[{inputs[i].edge.node, inputs[i].edge.slot}].push_back({inputs[i].form.encoding, stored[i]});
  std::map<std::string, Agreement> agreements;
  const Layout layout(q.graph);
  const RunHooks simulation = fake_quant_hooks(q.graph, q.plan);
  RunHooks hooks;
  hooks.on_edge = [&](Edge edge, const Tensor& x) -> std::optional<Tensor> {
    const auto input = planes_of.find({edge.node, edge.slot});
    const Node& node = q.graph.nodes[std::size_t(edge.node)];
    const int from = node.inputs.empty() ? -1 : node.inputs[std::size_t(edge.slot)];
    // The image has a border; rows of q, k and v are stored once for several readers.
    if (input == planes_of.end() || from == 0 || std::holds_alternative<MergeHeads>(node.op) ||
        std::holds_alternative<Mul>(node.op))
      return simulation.on_edge(edge, x);
    const Tensor rounded = *simulation.on_edge(edge, x);
    const std::vector<Plane>& planes = input->second;
    Tensor actual = Tensor::uninitialized(x.shape());
    Agreement& agreement = agreements[q.graph.nodes[std::size_t(from)].name];
    const std::int64_t columns = planes[0].encoding.columns();
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const auto c = std::size_t(i % columns);
      const std::int64_t at = layout.place(from, i / columns, std::int64_t(c));
      double value = 0;
      for (const auto& [e, codes] : planes) value += e.scale[c] * (codes[i] - e.zero[c]);
      actual[at] = real(value);
      // The low one of two planes has what is negative.
      const double scale = (rounded[at] < 0 ? planes.front() : planes.back()).encoding.scale[c],
                   off = std::abs(double(actual[at]) - double(rounded[at])) / scale;
      ++agreement.elements;
      agreement.off_by_one += off > 0.5 && off < 1.5;
      agreement.further += off >= 1.5;
    }
    return actual;
  };
  run(q.graph, image, hooks);
  return agreements;
}

void check_same_bits(const QuantizedGraph& q) {
  const IntegerProgram program = lower(q.graph, q.plan);
  const Tensor x = image_for(q.graph, 9, 2);
  const TensorI32 expected = IntegerEngine(program, 2, 1, kIntegerKernelsRef).run(x);
  for (const IntegerKernels* table : integer_kernel_tables()) {
    if (!table->is_supported()) continue;
    CAPTURE(table->name);
    for (const int threads : {1, 2}) {
      IntegerEngine engine(program, 5, threads, *table);
      for (const std::int64_t batch : {1, 2}) {
        const Tensor part({batch, x.dim(1), x.dim(2), x.dim(3)},
                          std::vector<real>(x.values().begin(), x.values().begin() + x.size() / 2 * batch));
        const TensorI32 logits = engine.run(part);
        CHECK(std::equal(logits.values().begin(), logits.values().end(), expected.values().begin()));
      }
    }
  }
}

}  // namespace qhv::test
