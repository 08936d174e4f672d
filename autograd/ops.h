// The operators of tensor/ops.h on a tape: each computes its value with the forward function of the same name
// and records a rule made of its adjoints. What differs from tensor/ops.h is said here; shapes and errors are
// the same.
//
// All operands must lie on the same tape (assert).
#pragma once

#include <optional>
#include <vector>

#include "autograd/tape.h"
#include "tensor/ops.h"

namespace qhv {

Var conv2d(Var x, Var w, std::optional<Var> b, const ConvGeometry& g);
Var linear(Var x, Var w, std::optional<Var> b);
Var matmul(Var a, Var b, bool transpose_b, double scale);
/// Its probabilities stand before it on the tape, as a constant.
Var attention(Var q, Var k, Var v, double scale);

/// Inference mode: mean and var are constants, and must not want gradients (std::invalid_argument).
Var batch_norm(Var x, Var weight, Var bias, Var mean, Var var, double eps);

/// Training mode: normalises by the batch's own statistics and differentiates through them.
struct BatchNormTrain {
  Var y;
  BatchStatistics statistics;
};
BatchNormTrain batch_norm_train(Var x, Var weight, Var bias, double eps);

Var layer_norm(Var x, Var weight, Var bias, double eps);
Var group_norm(Var x, Var weight, Var bias, double eps);
Var softmax(Var x);
Var silu(Var x);
Var relu(Var x);
Var add(Var a, Var b);
Var mul(Var a, Var b);
Var sum_last(Var x);
Var global_avg_pool(Var x);
Var concat_axis(const std::vector<Var>& parts, int axis);
Var slice(Var x, int axis, std::int64_t begin, std::int64_t end);
Var split_heads(Var x, int heads);
Var merge_heads(Var x);
Var unfold_patches(Var x, int patch, PatchLayout layout);
Var fold_patches(Var x, int patch, PatchLayout layout, std::int64_t height, std::int64_t width);
Var resize_bilinear(Var x, std::int64_t height, std::int64_t width, bool align_corners);

/// round(x), halves to even. Its derivative is zero almost everywhere; the rule is the straight-through
/// estimator instead: dx = dy (Bengio, Leonard, Courville 2013).
Var round_straight_through(Var x);

/// AdaRound's h(v) = clip(1.2 sigmoid(v) - 0.1, 0, 1) (arXiv 2004.10568, equation 23). Where it is clipped
/// the gradient is zero.
Var rectified_sigmoid(Var v);

/// Mean over the rows of logits [B, N] of the cross-entropy with the targets (1 - smoothing) one-hot +
/// smoothing / N. A scalar.
Var cross_entropy(Var logits, const std::vector<int>& labels, double smoothing);

}  // namespace qhv
