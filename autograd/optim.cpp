#include "autograd/optim.h"

#include <cmath>
#include <numbers>

#include "tensor/parallel.h"
#include "tensor/vectorize.h"

namespace qhv {
namespace {

QHV_VECTORIZE void sgd_update(real* w, const real* g, real* m, std::int64_t count, real lr, real momentum,
                              real decay) {
  for (std::int64_t i = 0; i < count; ++i) {
    m[i] = momentum * m[i] + (g[i] + decay * w[i]);
    w[i] -= lr * m[i];
  }
}

/// The numbers of one step, the same for all elements.
struct AdamStep {
  real beta1, rest1;   // beta1, 1 - beta1
  real beta2, rest2;   // beta2, 1 - beta2
  real rate;           // lr / (1 - beta1^t)
  real inv_root;       // 1 / sqrt(1 - beta2^t)
  real eps, lr_decay;  // lr * weight_decay, or 0
};

QHV_VECTORIZE void adam_update(real* w, const real* g, real* m, real* v, std::int64_t count, AdamStep s) {
  for (std::int64_t i = 0; i < count; ++i) {
    m[i] = s.beta1 * m[i] + s.rest1 * g[i];
    v[i] = s.beta2 * v[i] + s.rest2 * g[i] * g[i];
    w[i] -= s.rate * m[i] / (std::sqrt(v[i]) * s.inv_root + s.eps) + s.lr_decay * w[i];
  }
}

QHV_VECTORIZE double sum_of_squares(const real* x, std::int64_t count) {
  return sum(count, [x](std::int64_t i) { return double(x[i]) * double(x[i]); });
}

QHV_VECTORIZE void scale_by(real* x, std::int64_t count, real factor) {
  for (std::int64_t i = 0; i < count; ++i) x[i] *= factor;
}

QHV_VECTORIZE void move_towards(real* average, const real* value, std::int64_t count, real share) {
  for (std::int64_t i = 0; i < count; ++i) average[i] += share * (value[i] - average[i]);
}

bool is_fraction(double value) { return value >= 0 && value < 1; }

void validate(const OptimizerOptions& options, double lr) {
  require(std::isfinite(lr) && lr >= 0, "optimizer", "learning rate ", lr);
  require(std::isfinite(options.weight_decay) && options.weight_decay >= 0, "optimizer", "weight_decay ",
          options.weight_decay);
  if (options.kind == OptimizerKind::kSgd) {
    require(is_fraction(options.momentum), "optimizer", "momentum ", options.momentum, " is not in [0, 1)");
    return;
  }
  require(is_fraction(options.beta1) && is_fraction(options.beta2), "optimizer", "beta1 ", options.beta1,
          ", beta2 ", options.beta2, " are not in [0, 1)");
  require(std::isfinite(options.eps) && options.eps > 0, "optimizer", "eps ", options.eps);
  require(options.kind != OptimizerKind::kAdam || options.weight_decay == 0, "optimizer",
          "Adam with weight_decay ", options.weight_decay, "; AdamW is the one that decays");
}

std::vector<Tensor> zeros_like(std::span<Tensor* const> params) {
  std::vector<Tensor> zeros;
  for (const Tensor* w : params) zeros.emplace_back(w->shape());
  return zeros;
}

void require_moments(const char* name, std::span<const Tensor> moments, std::span<Tensor* const> params) {
  require(moments.size() == params.size(), "optimizer", moments.size(), ' ', name, " moments for ",
          params.size(), " parameters");
  for (std::size_t i = 0; i < params.size(); ++i)
    require(moments[i].shape() == params[i]->shape(), "optimizer", name, " moment ", i, " has shape ",
            moments[i].shape(), " for a parameter of ", params[i]->shape());
}

}  // namespace

void make_moments(Optimizer& optimizer, std::span<Tensor* const> params) {
  optimizer.first = zeros_like(params);
  if (optimizer.options.kind != OptimizerKind::kSgd) optimizer.second = zeros_like(params);
}

void optimizer_step(Optimizer& optimizer, double lr, std::span<Tensor* const> params,
                    std::span<const Tensor> grads, int threads) {
  const OptimizerOptions& options = optimizer.options;
  const bool adam = options.kind != OptimizerKind::kSgd;
  validate(options, lr);
  require(grads.size() == params.size(), "optimizer", grads.size(), " gradients for ", params.size(),
          " parameters");
  for (std::size_t i = 0; i < params.size(); ++i)
    require(grads[i].shape() == params[i]->shape(), "optimizer", "gradient ", i, " has shape ",
            grads[i].shape(), " for a parameter of ", params[i]->shape());
  if (optimizer.step == 0 && optimizer.first.empty()) make_moments(optimizer, params);
  require_moments("first", optimizer.first, params);
  if (adam) require_moments("second", optimizer.second, params);

  const double t = double(++optimizer.step);
  const double rate = lr / (1 - std::pow(options.beta1, t));
  const double inv_root = 1 / std::sqrt(1 - std::pow(options.beta2, t));
  parallel_for(std::int64_t(params.size()), threads, [&](std::int64_t item) {
    const std::size_t i = std::size_t(item);
    Tensor& w = *params[i];
    const double decay = w.rank() >= 2 ? options.weight_decay : 0;
    real* m = optimizer.first[i].data();
    if (adam)
      adam_update(w.data(), grads[i].data(), m, optimizer.second[i].data(), w.size(),
                  {real(options.beta1), real(1 - options.beta1), real(options.beta2), real(1 - options.beta2),
                   real(rate), real(inv_root), real(options.eps), real(lr * decay)});
    else
      sgd_update(w.data(), grads[i].data(), m, w.size(), real(lr), real(options.momentum), real(decay));
  });
}

double cosine_schedule(std::int64_t step, std::int64_t total, std::int64_t warmup, double peak,
                       double final_fraction) {
  require(0 <= step && step < total && 0 <= warmup && warmup <= total, "cosine_schedule", "step ", step,
          " of ", total, " with a warm-up of ", warmup);
  if (step < warmup) return peak * double(step + 1) / double(warmup);
  const std::int64_t last = total - 1;
  const double done = last > warmup ? double(step - warmup) / double(last - warmup) : 0;
  return peak * (final_fraction + (1 - final_fraction) * (1 + std::cos(std::numbers::pi * done)) / 2);
}

double clip_global_norm(std::span<Tensor> grads, double max_norm) {
  require(max_norm > 0, "clip_global_norm", "max_norm ", max_norm);
  double squares = 0;
  for (const Tensor& g : grads) squares += sum_of_squares(g.data(), g.size());
  const double norm = std::sqrt(squares);
  if (std::isfinite(norm) && norm > max_norm)
    for (Tensor& g : grads) scale_by(g.data(), g.size(), real(max_norm / norm));
  return norm;
}

void ema_update(std::span<Tensor> average, std::span<const Tensor* const> values, double decay) {
  require(decay >= 0 && decay <= 1, "ema_update", "decay ", decay, " is not in [0, 1]");
  require(average.size() == values.size(), "ema_update", average.size(), " averages of ", values.size(),
          " values");
  for (std::size_t i = 0; i < values.size(); ++i)
    require(average[i].shape() == values[i]->shape(), "ema_update", "average ", i, " has shape ",
            average[i].shape(), " for a value of ", values[i]->shape());
  for (std::size_t i = 0; i < values.size(); ++i)
    move_towards(average[i].data(), values[i]->data(), average[i].size(), real(1 - decay));
}

double ema_decay(double decay, std::int64_t step) {
  require(step >= 0, "ema_decay", "step ", step);
  return std::min(decay, double(1 + step) / double(10 + step));
}

}  // namespace qhv
