#include "quant/reconstruction/reconstruct.h"

#include <algorithm>
#include <map>

#include "nn/run_tape.h"
#include "quant/fake_quant.h"
#include "quant/reconstruction/learn_piece.h"
#include "quant/sensitivity.h"
#include "tensor/parallel.h"

namespace qhv {
namespace {

constexpr std::size_t kWeighed = 64;  // images from which the channels' weights are taken

/// The pieces' channel weights, by piece.
std::vector<ChannelWeights> channel_weights(const Graph& reference, const QuantizedGraph& quantized,
                                            const std::vector<Piece>& pieces, std::span<const Tensor> images,
                                            const ReconstructOptions& options) {
  std::vector<Unit> outputs;
  std::vector<ChannelWeights> result;
  for (const Piece& piece : pieces) {
    result.emplace_back(piece.outputs.size());
    for (const int node : piece.outputs) outputs.push_back(make_unit(reference, {node, node + 1}));
  }
  images = images.first(std::min(images.size(), kWeighed));
  const std::size_t portion = std::size_t(2 * options.threads);
  for (std::size_t first = 0; first < images.size(); first += portion) {
    const auto some = images.subspan(first, std::min(portion, images.size() - first));
    const auto samples =
        sample_units(reference, quantized, outputs, some,
                     {.signal = Signal::kFisher, .seed = options.seed + first, .threads = options.threads});
    std::size_t u = 0;
    for (ChannelWeights& weights : result)
      for (std::vector<double>& of_output : weights) {
        for (const UnitSample& sample : samples[u]) {
          const Tensor& f = sample.importance;
          const int axis = channel_axis(f);
          std::int64_t inner = 1;
          for (int a = axis + 1; a < f.rank(); ++a) inner *= f.dim(a);
          of_output.resize(std::size_t(f.dim(axis)), 0.0);
          for (std::int64_t i = 0; i < f.size(); ++i)
            of_output[std::size_t(i / inner % f.dim(axis))] +=
                double(f[i]) / double(f.size() / f.dim(axis)) / double(images.size());
        }
        ++u;
      }
  }
  return result;
}

/// Both networks on all images, a piece at a time: the values that later pieces read, by node and image.
class Passage {
 public:
  Passage(std::span<const Tensor> images, int threads) : threads_(threads), values_{{0, {}}} {
    values_[0].assign(images.begin(), images.end());
  }

  std::vector<Tensor> externals(const Unit& unit, std::size_t image) const {
    std::vector<Tensor> result;
    for (const int node : unit.externals) result.push_back(values_.at(node)[image]);
    return result;
  }

  /// Computes the piece's outputs from its externals, for all images.
  void pass(const Graph& graph, const Piece& piece, const RunHooks& hooks) {
    const std::size_t count = values_.begin()->second.size();
    for (const int node : piece.outputs) values_[node].resize(count);
    parallel_for(std::int64_t(count), threads_, [&](std::int64_t i) {
      Tape tape;
      std::map<int, Var> given;
      for (const int node : piece.unit.externals)
        given.emplace(node, tape.borrow(values_.at(node)[std::size_t(i)], false));
      RecordOptions options{.range = piece.unit.range};
      if (hooks.on_edge)
        options.on_edge = [&](Edge edge, Var x) -> std::optional<Var> {
          auto rounded = hooks.on_edge(edge, x.value());
          return rounded ? std::optional(tape.constant(std::move(*rounded))) : std::nullopt;
        };
      const Recorded recorded = record(tape, graph, given, options);
      for (const int node : piece.outputs) values_.at(node)[std::size_t(i)] = recorded.node(node).value();
    });
  }

  const Tensor& value(int node, std::size_t image) const { return values_.at(node)[image]; }

  /// Forgets what no piece from `begin` on reads.
  void forget(const std::vector<int>& last_use, int begin) {
    std::erase_if(values_, [&](const auto& entry) { return last_use[std::size_t(entry.first)] < begin; });
  }

 private:
  int threads_;
  std::map<int, std::vector<Tensor>> values_;
};

}  // namespace

const char* reconstruction_name(Reconstruction kind) {
  constexpr const char* kNames[] = {"none", "adaround", "brecq", "qdrop", "bridge"};
  return kNames[std::size_t(kind)];
}

ReconstructOptions reconstruct_options(Reconstruction kind) {
  ReconstructOptions options;
  options.pieces = kind == Reconstruction::kAdaRound ? Pieces::kLayers
                   : kind == Reconstruction::kBridge ? Pieces::kBridges
                                                     : Pieces::kBlocks;
  if (kind == Reconstruction::kAdaRound) options.steps = options.biases = false;
  if (kind == Reconstruction::kAdaRound || kind == Reconstruction::kBrecq) options.drop = 0;
  return options;
}

std::vector<PieceTrace> reconstruct(QuantizedGraph& quantized, const Graph& reference,
                                    std::span<const Tensor> images, const ReconstructOptions& options) {
  const std::vector<Piece> pieces = pieces_of(reference, options.pieces);
  const std::vector<ChannelWeights> weights = channel_weights(reference, quantized, pieces, images, options);
  const std::vector<int> last_use = last_uses(reference);
  Passage exact(images, options.threads), rounded(images, options.threads);
  std::vector<PieceTrace> traces;
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    const Piece& piece = pieces[p];
    exact.pass(reference, piece, {});
    const bool has_weights = std::ranges::any_of(
        piece.unit.layers, [&](int node) { return has_weight(reference.nodes[std::size_t(node)]); });
    if (has_weights) {
      std::vector<PieceSample> samples(images.size());
      for (std::size_t i = 0; i < images.size(); ++i) {
        samples[i].externals = rounded.externals(piece.unit, i);
        for (const int node : piece.outputs) samples[i].targets.push_back(exact.value(node, i));
      }
      traces.push_back(learn_piece(quantized, reference, piece, samples, weights[p], options, p));
    }
    rounded.pass(quantized.graph, piece, fake_quant_hooks(quantized.graph, quantized.plan));
    exact.forget(last_use, piece.unit.range.end);
    rounded.forget(last_use, piece.unit.range.end);
    if (options.progress)
      options.progress("reconstruct", double(piece.unit.range.end) / double(reference.nodes.size()));
  }
  return traces;
}

}  // namespace qhv
