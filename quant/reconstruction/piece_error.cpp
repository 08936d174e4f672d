#include "quant/reconstruction/piece_error.h"

#include "quant/fake_quant.h"
#include "quant/passage.h"
#include "tensor/parallel.h"

namespace qhv {

int channel_axis(const Tensor& x) { return x.rank() == 4 ? 1 : x.rank() - 1; }

double weighted_error(const Tensor& y, const Tensor& target, const std::vector<double>& weights,
                      Tensor* gradient) {
  const int axis = channel_axis(y);
  const std::int64_t inner = inner_count(y.shape(), axis);
  const std::int64_t channels = y.dim(axis);
  double sum = 0;
  for (std::int64_t row = 0; row < y.size() / inner; ++row) {
    const double w = weights[std::size_t(row % channels)];
    double squares = 0;
    for (std::int64_t i = row * inner; i < (row + 1) * inner; ++i) {
      const double e = double(y[i]) - double(target[i]);
      squares += e * e;
      if (gradient) (*gradient)[i] = real(2 * w * e);
    }
    sum += w * squares;
  }
  return sum;
}

double piece_error(const QuantizedGraph& quantized, const Piece& piece, std::span<const PieceSample> samples,
                   const ChannelWeights& weights, int threads) {
  const RunHooks hooks = fake_quant_hooks(quantized.graph, quantized.plan);
  std::vector<double> errors(samples.size(), 0.0);
  parallel_for(std::ssize(samples), threads, [&](std::int64_t i) {
    const PieceSample& sample = samples[std::size_t(i)];
    const std::vector<Tensor> y =
        run_unit(quantized.graph, piece.unit, sample.externals, piece.outputs, hooks);
    for (std::size_t o = 0; o < y.size(); ++o)
      errors[std::size_t(i)] += weighted_error(y[o], *sample.targets[o], weights[o], nullptr);
  });
  double sum = 0;
  for (const double e : errors) sum += e;
  return sum / double(samples.size());
}

}  // namespace qhv
