#include "quant/bias_correction.h"

#include "quant/fake_quant.h"
#include "quant/passage.h"

namespace qhv {
namespace {

/// Mean by channel of what a node put out, over all images and positions.
std::vector<double> channel_means(const Passage& passage, int node, int axis, std::size_t images) {
  const Tensor& first = passage.value(node, 0);
  const std::int64_t channels = first.dim(axis), inner = inner_count(first.shape(), axis);
  std::vector<double> means(std::size_t(channels), 0.0);
  for (std::size_t image = 0; image < images; ++image) {
    const Tensor& y = passage.value(node, image);
    for (std::int64_t row = 0; row < y.size() / inner; ++row) {
      double sum = 0;
      for (std::int64_t k = row * inner; k < (row + 1) * inner; ++k) sum += double(y[k]);
      means[std::size_t(row % channels)] += sum;
    }
  }
  for (double& mean : means) mean /= double(first.size() / channels) * double(images);
  return means;
}

}  // namespace

void correct_biases(QuantizedGraph& quantized, const Graph& reference, std::span<const Tensor> images,
                    int threads) {
  std::vector<bool> planned(reference.nodes.size());
  for (const LayerPlan& layer : quantized.plan.layers)
    planned[std::size_t(find_node(reference, layer.node))] = layer.weight.has_value();
  const RunHooks hooks = fake_quant_hooks(quantized.graph, quantized.plan);
  const std::vector<int> last_use = last_uses(reference);
  Passage exact(images, threads), rounded(images, threads);
  for (int i = 1; i < int(reference.nodes.size()); ++i) {
    const Unit unit = make_unit(reference, {i, i + 1});
    exact.pass(reference, unit, {i}, {});
    rounded.pass(quantized.graph, unit, {i}, hooks);
    const Node& node = reference.nodes[std::size_t(i)];
    const int rank = exact.value(i, 0).rank();
    if (planned[std::size_t(i)] && node.params.size() > 1 && rank != 2) {
      const int axis = output_axis(reference, i, rank);
      std::vector<double> shift = channel_means(exact, i, axis, images.size());
      const std::vector<double> of_rounded = channel_means(rounded, i, axis, images.size());
      Tensor& bias = quantized.graph.params[std::size_t(node.params[1])].value;
      for (std::size_t c = 0; c < shift.size(); ++c) {
        shift[c] -= of_rounded[c];
        bias[std::int64_t(c)] = real(double(bias[std::int64_t(c)]) + shift[c]);
      }
      rounded.shift(i, axis, shift);
    }
    exact.forget(last_use, i + 1);
    rounded.forget(last_use, i + 1);
  }
}

}  // namespace qhv
