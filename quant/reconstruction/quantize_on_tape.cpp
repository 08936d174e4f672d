#include "quant/reconstruction/quantize_on_tape.h"

#include <algorithm>

#include "tensor/ops.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

/// dy becomes dx in place; returns what the step gets over a stretch with one step.
QHV_VECTORIZE double backward_stretch(const real* x, real* dy, std::int64_t count, real scale, real low,
                                      real high) {
  constexpr std::int64_t kBlock = 256;
  double total = 0;
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t end = first + kBlock < count ? first + kBlock : count;
    real terms[kBlock];
    for (std::int64_t i = first; i < end; ++i) {
      const real position = x[i] / scale, code = nearest_code(x[i], scale, low, high);
      const bool inside = position >= low && position <= high;
      terms[i - first] = dy[i] * (inside ? code - position : code);
      dy[i] = inside ? dy[i] : real(0);
    }
    total += sum(end - first, [&](std::int64_t i) { return double(terms[i]); });
  }
  return total;
}

/// Drop::keeps of each element; none without dropping.
std::vector<std::uint8_t> kept_elements(std::int64_t count, const Drop& drop) {
  std::vector<std::uint8_t> kept(drop.probability > 0 ? std::size_t(count) : 0);
  const std::uint64_t threshold = drop.threshold();
  for (std::size_t first = 0; first < kept.size(); first += 8) {
    std::uint64_t bits = random_bits(drop.seed, first / 8);
    for (std::size_t i = first; i < std::min(first + 8, kept.size()); ++i, bits >>= 8)
      kept[i] = (bits & 255) < threshold;
  }
  return kept;
}

/// y = x where kept.
QHV_VECTORIZE void take_kept(const std::uint8_t* kept, const real* x, real* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = kept[i] ? x[i] : y[i];
}

/// Splits dy: what passes by the rounding stays, the rest goes to `rounded`.
QHV_VECTORIZE void split_kept(const std::uint8_t* kept, real* dy, real* rounded, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    rounded[i] = kept[i] ? real(0) : dy[i];
    dy[i] = kept[i] ? dy[i] : real(0);
  }
}

/// Of x by these parameters: dx, and the gradient of each factor.
Tensor backward(Tensor dy, const Tensor& x, const QParams& base, const QParams& q, Tensor& dfactors) {
  const std::int64_t inner = stretch_size(x.shape(), q);
  std::vector<double> sums(std::size_t(dfactors.size()), 0.0);
  for (std::int64_t i = 0; i < x.size() / inner; ++i) {
    const std::size_t g = std::size_t(i) % q.scale.size();
    const double of_step =
        backward_stretch(x.data() + i * inner, dy.data() + i * inner, inner, real(q.scale[g]),
                         real(q.qmin - q.zero_point[g]), real(q.qmax - q.zero_point[g]));
    sums[dfactors.size() == 1 ? 0 : g] += of_step * double(base.scale[g]);
  }
  std::copy(sums.begin(), sums.end(), dfactors.data());
  return dy;
}

}  // namespace

QParams with_factors(const QParams& q, const Tensor& factors) {
  require(factors.size() == 1 || factors.size() == std::int64_t(q.scale.size()), "quantize", factors.size(),
          " factors for ", q.scale.size(), " steps");
  QParams result = q;
  for (std::size_t g = 0; g < q.scale.size(); ++g)
    result.scale[g] *= float(factors[factors.size() == 1 ? 0 : std::int64_t(g)]);
  return result;
}

Var quantize_on_tape(Var x, const Quantizer& quantizer, std::optional<Var> factors, const Drop& drop) {
  const auto* base = std::get_if<QParams>(&quantizer);
  const Quantizer q = base && factors ? Quantizer(with_factors(*base, factors->value())) : quantizer;
  Tensor y = fake_quantize(x.value(), q);
  std::vector<std::uint8_t> kept = kept_elements(y.size(), drop);
  if (!kept.empty()) take_kept(kept.data(), x.value().data(), y.data(), y.size());
  if (!base)
    return x.tape->record(TapeOp::kFakeQuantize, std::move(y), {x.id},
                          [x = x.id](Tape& t, Tensor dy) { t.add_gradient(x, std::move(dy)); });
  const int factors_id = factors ? factors->id : -1;
  std::vector<int> inputs{x.id};
  if (factors) inputs.push_back(factors_id);
  return x.tape->record(TapeOp::kFakeQuantize, std::move(y), std::move(inputs),
                        [x = x.id, factors_id, base = *base, q = std::get<QParams>(q),
                         kept = std::move(kept)](Tape& t, Tensor dy) {
                          Tensor dfactors(factors_id >= 0 ? t.value(factors_id).shape() : Shape{1}), passed;
                          if (!kept.empty()) {
                            passed = std::move(dy);
                            dy = Tensor::uninitialized(passed.shape());
                            split_kept(kept.data(), passed.data(), dy.data(), dy.size());
                          }
                          dy = backward(std::move(dy), t.value(x), base, q, dfactors);
                          if (factors_id >= 0 && t.wants(factors_id))
                            t.add_gradient(factors_id, std::move(dfactors));
                          if (!t.wants(x)) return;
                          if (!kept.empty()) accumulate(dy, passed);
                          t.add_gradient(x, std::move(dy));
                        });
}

}  // namespace qhv
