#include "quant/bias_correction.h"

#include "nn/run.h"
#include "quant/fake_quant.h"
#include "quant/unit.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

/// One network on all images, node by node: the values that later nodes read, by node and image.
class Lockstep {
 public:
  Lockstep(const Graph& graph, std::span<const Tensor> images, RunHooks hooks, int threads)
      : graph_(graph),
        images_(images),
        hooks_(std::move(hooks)),
        threads_(threads),
        last_(last_uses(graph)),
        values_(graph.nodes.size()) {}

  /// Computes node i; all before it have been.
  const std::vector<Tensor>& advance(int i) {
    const Node& node = graph_.nodes[std::size_t(i)];
    std::vector<Tensor>& outputs = values_[std::size_t(i)];
    outputs.resize(images_.size());
    parallel_for(std::int64_t(images_.size()), threads_, [&](std::int64_t image) {
      const std::size_t k = std::size_t(image);
      std::vector<const Tensor*> inputs;
      for (const int input : node.inputs) inputs.push_back(&values_[std::size_t(input)][k]);
      if (inputs.empty()) inputs.push_back(&images_[k]);
      std::vector<std::optional<Tensor>> replaced(node.inputs.size());
      for (std::size_t slot = 0; hooks_.on_edge && slot < replaced.size(); ++slot) {
        replaced[slot] = hooks_.on_edge({i, int(slot)}, *inputs[slot]);
        if (replaced[slot]) inputs[slot] = &*replaced[slot];
      }
      outputs[k] = run_node(graph_, i, inputs);
    });
    for (const int input : node.inputs)
      if (last_[std::size_t(input)] == i) values_[std::size_t(input)].clear();
    return outputs;
  }

  /// Adds shift[c] to channel c of what node i put out.
  void shift(int i, int axis, const std::vector<double>& shift) {
    for (Tensor& y : values_[std::size_t(i)]) {
      const std::int64_t inner = inner_count(y.shape(), axis);
      for (std::int64_t k = 0; k < y.size(); ++k)
        y[k] = real(double(y[k]) + shift[std::size_t(k / inner) % shift.size()]);
    }
  }

 private:
  const Graph& graph_;
  std::span<const Tensor> images_;
  RunHooks hooks_;
  int threads_;
  std::vector<int> last_;
  std::vector<std::vector<Tensor>> values_;
};

/// Mean by channel over all images and positions.
std::vector<double> channel_means(const std::vector<Tensor>& outputs, int axis) {
  const std::int64_t channels = outputs[0].dim(axis);
  const std::int64_t inner = inner_count(outputs[0].shape(), axis);
  std::vector<double> means(std::size_t(channels), 0.0);
  for (const Tensor& y : outputs)
    for (std::int64_t row = 0; row < y.size() / inner; ++row) {
      double sum = 0;
      for (std::int64_t k = row * inner; k < (row + 1) * inner; ++k) sum += double(y[k]);
      means[std::size_t(row % channels)] += sum;
    }
  for (double& mean : means) mean /= double(outputs[0].size() / channels) * double(outputs.size());
  return means;
}

}  // namespace

void correct_biases(QuantizedGraph& quantized, const Graph& reference, std::span<const Tensor> images,
                    int threads) {
  std::vector<bool> planned(reference.nodes.size());
  for (const LayerPlan& layer : quantized.plan.layers)
    planned[std::size_t(find_node(reference, layer.node))] = layer.weight.has_value();
  Lockstep exact(reference, images, {}, threads);
  Lockstep rounded(quantized.graph, images, fake_quant_hooks(quantized.graph, quantized.plan), threads);
  for (int i = 0; i < int(reference.nodes.size()); ++i) {
    const std::vector<Tensor>& y = exact.advance(i);
    const std::vector<Tensor>& q = rounded.advance(i);
    const Node& node = reference.nodes[std::size_t(i)];
    if (!planned[std::size_t(i)] || node.params.size() < 2 || y[0].rank() == 2) continue;
    const int axis = output_axis(reference, i, y[0].rank());
    std::vector<double> shift = channel_means(y, axis);
    const std::vector<double> of_rounded = channel_means(q, axis);
    Tensor& bias = quantized.graph.params[std::size_t(node.params[1])].value;
    for (std::size_t c = 0; c < shift.size(); ++c) {
      shift[c] -= of_rounded[c];
      bias[std::int64_t(c)] = real(double(bias[std::int64_t(c)]) + shift[c]);
    }
    rounded.shift(i, axis, shift);
  }
}

}  // namespace qhv
