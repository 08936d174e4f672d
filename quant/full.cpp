#include "quant/full.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/shapes.h"

namespace qhv {
namespace {

constexpr int kTableBits = 8, kStreamBits = 16;
constexpr int kShrinkSteps = 40;

/// The bits of a node's inputs.
struct InputBits {
  int operator()(const LayerNorm&) const { return kStreamBits; }
  int operator()(const GroupNorm&) const { return kStreamBits; }
  int operator()(const Add&) const { return kStreamBits; }
  int operator()(const ResizeBilinear&) const { return kStreamBits; }
  template <typename Other>
  int operator()(const Other&) const {
    return kTableBits;
  }
};

double silu(double x) { return x / (1 + std::exp(-x)); }

}  // namespace

QParams silu_input_params(const Histogram& histogram, const Range& seen, int bits) {
  QParams best;
  double least = std::numeric_limits<double>::infinity();
  Range range = seen;
  // One end after the other: each is shrunk towards zero in equal steps while the other stands.
  for (double Range::*end : {&Range::lo, &Range::hi}) {
    Range chosen = range;
    for (int step = 0; step < kShrinkSteps; ++step) {
      Range candidate = range;
      candidate.*end *= 1 - double(step) / kShrinkSteps;
      if (candidate.empty()) continue;
      const QParams q = affine_params({candidate}, bits);
      const double error = histogram.error_after(silu, q);
      if (error >= least) continue;
      least = error;
      best = q;
      chosen = candidate;
    }
    range = chosen;
  }
  return best;
}

void add_full_layers(QuantPlan& plan, const Graph& reference, const Calibration& calibration) {
  const std::vector<Shape> shapes = infer_shapes(reference);
  std::vector<ObservedEdge> edges, silu_edges;
  for (const int index : full_nodes(reference)) {
    const Node& node = reference.nodes[std::size_t(index)];
    if (std::ranges::find(plan.layers, node.name, &LayerPlan::node) != plan.layers.end()) continue;
    for (std::size_t slot = 0; slot < node.inputs.size(); ++slot) {
      const std::size_t rank = shapes[std::size_t(node.inputs[slot])].size();
      const bool heads = std::holds_alternative<Softmax>(node.op) && rank == 4;
      edges.push_back({{index, int(slot)}, heads ? 1 : -1});
      if (std::holds_alternative<Silu>(node.op)) silu_edges.push_back(edges.back());
    }
  }
  if (edges.empty()) return;
  const std::vector<std::vector<Range>> ranges = observe_ranges(reference, edges, calibration);
  std::vector<Range> silu_ranges;
  for (std::size_t i = 0; i < edges.size(); ++i)
    if (std::holds_alternative<Silu>(reference.nodes[std::size_t(edges[i].edge.node)].op))
      silu_ranges.push_back(ranges[i].front());
  const std::vector<Histogram> histograms =
      observe_histograms(reference, silu_edges, silu_ranges, calibration);

  std::size_t silus = 0;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    const Node& node = reference.nodes[std::size_t(edges[i].edge.node)];
    if (edges[i].edge.slot == 0) plan.layers.push_back({node.name, op_name(node.op), {}});
    const int bits = std::visit(InputBits{}, node.op);
    QParams q = affine_params(ranges[i], bits, edges[i].axis);
    if (std::holds_alternative<Silu>(node.op)) {
      q = silu_input_params(histograms[silus], silu_ranges[silus], bits);
      ++silus;
    }
    plan.layers.back().inputs.push_back({std::move(q)});
  }
}

}  // namespace qhv
