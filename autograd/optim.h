// The step from gradients to new parameters: SGD with momentum, Adam, AdamW, and what goes with them in
// training. With g the gradient, w the parameter, t = 1, 2, ... the step, all elementwise:
//
//   SGD     g += weight_decay w;  m = momentum m + g;  w -= lr m                            (classic L2 term)
//   Adam    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//           w -= lr m' / (sqrt(v') + eps),  m' = m / (1 - beta1^t),  v' = v / (1 - beta2^t)
//   AdamW   as Adam, and w -= lr weight_decay w besides, outside of the moments
//
// Decay touches only parameters of two axes or more: not biases, not the weights of normalisations. Moments
// are real, the corrections 1 - beta^t are computed in double; the same bits with any number of threads. NaN
// in a gradient goes into the parameter: look at the norm that clip_global_norm returns.
//
// Sources: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2, with lr as the schedule
// of both terms. Errors: std::invalid_argument for options out of range and shapes that differ.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace qhv {

enum class OptimizerKind { kSgd, kAdam, kAdamW };

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double momentum = 0.9;                          // kSgd
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;  // kAdam, kAdamW
  double weight_decay = 0.01;                     // must be 0 with kAdam, whose L2 term does not decay
};

/// Plain data, so that training can be saved and resumed. The moments appear with the first step.
struct Optimizer {
  OptimizerOptions options;
  std::int64_t step = 0;                  // steps taken
  std::vector<Tensor> first{}, second{};  // m and v, by index of the parameter; no v with kSgd
};

/// The moments before the first step: zeros. optimizer_step does it by itself.
void make_moments(Optimizer& optimizer, std::span<Tensor* const> params);

/// One step of every parameter, in place. Nothing changes if it throws.
void optimizer_step(Optimizer& optimizer, double lr, std::span<Tensor* const> params,
                    std::span<const Tensor> grads, int threads);

/// The learning rate of step 0 .. total-1: peak (step + 1) / warmup in the first `warmup` steps, then half a
/// cosine from peak to peak * final_fraction at the last step. A single step after the warm-up has the peak.
double cosine_schedule(std::int64_t step, std::int64_t total, std::int64_t warmup, double peak,
                       double final_fraction);

/// Returns the norm of all gradients taken as one vector, in double; where it is finite and above max_norm
/// they are scaled to max_norm. A norm that is NaN or infinite leaves them as they are, for the caller to
/// see.
double clip_global_norm(std::span<Tensor> grads, double max_norm);

/// average = decay * average + (1 - decay) * value, as average += (1 - decay) (value - average): what is
/// equal stays equal to the last bit.
void ema_update(std::span<Tensor> average, std::span<const Tensor* const> values, double decay);

/// min(decay, (1 + step) / (10 + step)): a young average forgets its first values sooner (TensorFlow's
/// ExponentialMovingAverage with num_updates).
double ema_decay(double decay, std::int64_t step);

}  // namespace qhv
