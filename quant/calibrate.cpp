#include "quant/calibrate.h"

#include <mutex>

#include "quant/plan.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

/// Runs every image; observe(observers of this image, index of the edge, value) sees the chosen edges, and
/// finished images' observers are merged into the result one at a time.
template <typename Observer, typename Observe, typename Merge>
std::vector<Observer> observe_edges(const Graph& graph, const std::vector<Edge>& edges,
                                    const Calibration& calibration, const char* stage,
                                    const std::vector<Observer>& start, Observe observe, Merge merge) {
  require(!calibration.images.empty(), "calibrate", "no images");
  std::vector<std::vector<int>> index_of(graph.nodes.size());  // [node][slot] -> index into edges, or -1
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) index_of[i].assign(graph.nodes[i].inputs.size(), -1);
  for (std::size_t i = 0; i < edges.size(); ++i)
    index_of[std::size_t(edges[i].node)][std::size_t(edges[i].slot)] = int(i);

  std::vector<Observer> result = start;
  std::mutex mutex;
  std::size_t done = 0;
  parallel_for(std::int64_t(calibration.images.size()), calibration.threads, [&](std::int64_t image) {
    std::vector<Observer> mine = start;
    RunHooks hooks;
    hooks.on_edge = [&](Edge edge, const Tensor& x) -> std::optional<Tensor> {
      const int index = index_of[std::size_t(edge.node)][std::size_t(edge.slot)];
      if (index >= 0) observe(mine[std::size_t(index)], edge, x);
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

std::vector<Edge> quantizable_edges(const Graph& graph) {
  std::vector<Edge> edges;
  for (const int node : quantizable_nodes(graph))
    for (std::size_t slot = 0; slot < graph.nodes[std::size_t(node)].inputs.size(); ++slot)
      edges.push_back({node, int(slot)});
  return edges;
}

std::vector<Range> observe_ranges(const Graph& graph, const std::vector<Edge>& edges,
                                  const Calibration& calibration) {
  return observe_edges(
      graph, edges, calibration, "ranges", std::vector<Range>(edges.size()),
      [&](Range& range, Edge edge, const Tensor& x) {
        try {
          range = range_of(x);
        } catch (const std::invalid_argument&) {
          fail(graph.nodes[std::size_t(edge.node)].name,
               concat("NaN or infinite activation in input ", edge.slot));
        }
      },
      [](Range& total, const Range& image) { total = merge(total, image); });
}

std::vector<Histogram> observe_histograms(const Graph& graph, const std::vector<Edge>& edges,
                                          const std::vector<Range>& ranges, const Calibration& calibration) {
  const std::vector<Histogram> empty = [&] {
    std::vector<Histogram> histograms;
    for (const Range& range : ranges) histograms.emplace_back(range);
    return histograms;
  }();
  return observe_edges(
      graph, edges, calibration, "histograms", empty, [](Histogram& h, Edge, const Tensor& x) { h.add(x); },
      [](Histogram& total, const Histogram& image) { total.merge(image); });
}

}  // namespace qhv
