#include "quant/reconstruction/reconstruct.h"

#include <algorithm>

#include "quant/fake_quant.h"
#include "quant/passage.h"
#include "quant/reconstruction/correct_layers.h"
#include "quant/reconstruction/learn_piece.h"
#include "quant/sensitivity.h"

namespace qhv {
namespace {

constexpr std::size_t kWeighed = 64;  // images from which the channels' weights are taken
constexpr std::size_t kJudged = 64;   // images by which a piece is judged before and after a change

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
          const std::int64_t inner = inner_count(f.shape(), axis);
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

/// A piece on its way: what is tried is kept where it lowers the error.
class Improvement {
 public:
  Improvement(QuantizedGraph& quantized, const Piece& piece, std::span<const PieceSample> samples,
              const ChannelWeights& weights, int threads)
      : quantized_(quantized),
        piece_(piece),
        samples_(samples.first(std::min(samples.size(), kJudged))),
        weights_(weights),
        threads_(threads),
        error_(measured()) {}

  double error() const { return error_; }

  /// Whether `change` has lowered the error; otherwise everything is as before it.
  template <typename Change>
  bool attempt(Change change) {
    const std::vector<Param> params = quantized_.graph.params;
    const std::vector<LayerPlan> layers = quantized_.plan.layers;
    change();
    const double after = measured();
    if (after < error_) {  // not if NaN
      error_ = after;
      return true;
    }
    quantized_.graph.params = params;
    quantized_.plan.layers = layers;
    return false;
  }

 private:
  double measured() const { return piece_error(quantized_, piece_, samples_, weights_, threads_); }

  QuantizedGraph& quantized_;
  const Piece& piece_;
  std::span<const PieceSample> samples_;
  const ChannelWeights& weights_;
  int threads_;
  double error_;
};

/// Improves a piece by all that the options ask for.
PieceTrace improve(QuantizedGraph& quantized, const Graph& reference, const Piece& piece,
                   std::span<const PieceSample> samples, const ChannelWeights& weights,
                   const ReconstructOptions& options, std::uint64_t index) {
  Improvement improvement(quantized, piece, samples, weights, options.threads);
  PieceTrace trace;
  trace.name = quantized.graph.nodes[std::size_t(piece.unit.output())].name;
  trace.before = improvement.error();
  Graph unrounded = reference;
  if (options.ridge || options.descent) {
    const bool better = improvement.attempt([&] {
      correct_layers(quantized, unrounded, reference, piece, samples,
                     {.ridge = options.ridge, .descent = options.descent, .threads = options.threads});
    });
    if (!better) unrounded = reference;
  }
  trace.corrected = improvement.error();
  bool improved = trace.corrected < trace.before;
  if (options.roundings || options.steps || options.biases)
    improved |= improvement.attempt([&] {
      const LearntRoundings learnt =
          learn_piece(quantized, unrounded, piece, samples, weights, improvement.error(), options, index);
      trace.flipped = learnt.flipped;
      trace.free = learnt.free;
      trace.regularizer = learnt.regularizer;
      trace.iterations = options.iterations;
      trace.diverged = learnt.diverged;
    });
  if (options.polish)
    improved |= improvement.attempt([&] {
      correct_layers(quantized, unrounded, reference, piece, samples,
                     {.ridge = false, .polish = true, .threads = options.threads});
    });
  trace.after = improvement.error();
  trace.kept = !improved;
  return trace;
}

}  // namespace

const char* reconstruction_name(Reconstruction kind) {
  constexpr const char* kNames[] = {"none", "erq", "adaround", "brecq", "qdrop", "bridge"};
  return kNames[std::size_t(kind)];
}

ReconstructOptions reconstruct_options(Reconstruction kind) {
  ReconstructOptions options;
  options.pieces = kind == Reconstruction::kAdaRound ? Pieces::kLayers
                   : kind == Reconstruction::kBridge ? Pieces::kBridges
                                                     : Pieces::kBlocks;
  options.ridge = options.descent = kind == Reconstruction::kErq;
  options.roundings = kind != Reconstruction::kErq && kind != Reconstruction::kNone;
  options.steps = options.biases = options.roundings && kind != Reconstruction::kAdaRound;
  options.polish = kind == Reconstruction::kAdaRound;
  if (kind == Reconstruction::kAdaRound || kind == Reconstruction::kBrecq) options.drop = 0;
  return options;
}

void reconstruct(QuantizedGraph& quantized, const Graph& reference, std::span<const Tensor> images,
                 const ReconstructOptions& options) {
  const std::vector<Piece> pieces = pieces_of(reference, options.pieces);
  const std::vector<ChannelWeights> weights = channel_weights(reference, quantized, pieces, images, options);
  const std::vector<int> last_use = last_uses(reference);
  Passage exact(images, options.threads), rounded(images, options.threads);
  std::vector<PieceTrace>& traces = quantized.plan.reconstruction.pieces;
  std::size_t done = traces.size();
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    const Piece& piece = pieces[p];
    exact.pass(reference, piece.unit, piece.outputs, {});
    const bool has_weights = std::ranges::any_of(
        piece.unit.layers, [&](int node) { return has_weight(reference.nodes[std::size_t(node)]); });
    if (has_weights && done > 0) {
      --done;
    } else if (has_weights) {
      std::vector<PieceSample> samples(images.size());
      for (std::size_t i = 0; i < images.size(); ++i)
        samples[i] = {rounded.values(piece.unit.externals, i), exact.values(piece.unit.externals, i),
                      exact.values(piece.outputs, i)};
      traces.push_back(improve(quantized, reference, piece, samples, weights[p], options, p));
      if (options.save) options.save();
    }
    rounded.pass(quantized.graph, piece.unit, piece.outputs,
                 fake_quant_hooks(quantized.graph, quantized.plan));
    exact.forget(last_use, piece.unit.range.end);
    rounded.forget(last_use, piece.unit.range.end);
    if (options.progress)
      options.progress("reconstruct", double(piece.unit.range.end) / double(reference.nodes.size()));
  }
}

}  // namespace qhv
