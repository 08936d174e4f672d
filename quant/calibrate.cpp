#include "quant/calibrate.h"

#include <mutex>

#include "quant/plan.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

/// Runs every image; observe(observers of this image, index of the edge, value) sees the chosen edges, and
/// finished images' observers are merged into the result one at a time.
template <typename Observer, typename Observe, typename Merge>
std::vector<Observer> observe_edges(const Graph& graph, const std::vector<ObservedEdge>& edges,
                                    const Calibration& calibration, const char* stage,
                                    const std::vector<Observer>& start, Observe observe, Merge merge) {
  require(!calibration.images.empty(), "calibrate", "no images");
  std::vector<std::vector<int>> index_of(graph.nodes.size());  // [node][slot] -> index into edges, or -1
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) index_of[i].assign(graph.nodes[i].inputs.size(), -1);
  for (std::size_t i = 0; i < edges.size(); ++i)
    index_of[std::size_t(edges[i].edge.node)][std::size_t(edges[i].edge.slot)] = int(i);

  std::vector<Observer> result = start;
  std::mutex mutex;
  std::size_t done = 0;
  parallel_for(std::int64_t(calibration.images.size()), calibration.threads, [&](std::int64_t image) {
    std::vector<Observer> mine = start;
    RunHooks hooks;
    hooks.on_edge = [&](Edge edge, const Tensor& x) -> std::optional<Tensor> {
      const int index = index_of[std::size_t(edge.node)][std::size_t(edge.slot)];
      if (index >= 0) observe(mine[std::size_t(index)], edges[std::size_t(index)], x);
      return std::nullopt;
    };
    run(graph, calibration.images[std::size_t(image)], hooks);
    const std::lock_guard lock(mutex);
    for (std::size_t i = 0; i < result.size(); ++i) merge(result[i], mine[i]);
    ++done;
    if (calibration.progress) calibration.progress(stage, double(done) / double(calibration.images.size()));
  });
  return result;
}

}  // namespace

LayerBits Calibration::bits_of(const Node& node) const {
  const auto special = special_bits.find(node.name);
  return special == special_bits.end() ? LayerBits{wbits, abits} : special->second;
}

std::vector<ObservedEdge> quantizable_edges(const Graph& graph) {
  std::vector<ObservedEdge> edges;
  for (const int index : quantizable_nodes(graph)) {
    const Node& node = graph.nodes[std::size_t(index)];
    for (std::size_t slot = 0; slot < node.inputs.size(); ++slot)
      edges.push_back({{index, int(slot)}, is_depthwise(node) ? 1 : -1});
  }
  return edges;
}

std::vector<std::vector<Range>> observe_ranges(const Graph& graph, const std::vector<ObservedEdge>& edges,
                                               const Calibration& calibration) {
  return observe_edges(
      graph, edges, calibration, "ranges", std::vector<std::vector<Range>>(edges.size()),
      [&](std::vector<Range>& ranges, const ObservedEdge& observed, const Tensor& x) {
        try {
          ranges = observed.axis < 0 ? std::vector{range_of(x)} : channel_ranges(x, observed.axis);
        } catch (const std::invalid_argument&) {
          fail(graph.nodes[std::size_t(observed.edge.node)].name,
               concat("NaN or infinite activation in input ", observed.edge.slot));
        }
      },
      [](std::vector<Range>& total, const std::vector<Range>& image) { total = merge(total, image); });
}

std::vector<Histogram> observe_histograms(const Graph& graph, const std::vector<ObservedEdge>& edges,
                                          const std::vector<Range>& ranges, const Calibration& calibration) {
  std::vector<Histogram> empty;
  for (const Range& range : ranges) empty.emplace_back(range);
  return observe_edges(
      graph, edges, calibration, "histograms", empty,
      [](Histogram& h, const ObservedEdge&, const Tensor& x) { h.add(x); },
      [](Histogram& total, const Histogram& image) { total.merge(image); });
}

}  // namespace qhv
