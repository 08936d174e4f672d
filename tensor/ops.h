// The operators of MobileViT on values: pure functions from tensors to a new tensor. These are the
// definitions that all faster code is compared with; they are single-threaded. Every sum over more than a few
// terms is in double, but for matrix products, which leave that to the kernel chosen in gemm.h, and in float
// for the loops of loops.h, where stretches of a sum are.
//
// An operator's adjoint, foo_backward, stands next to it (vector-Jacobian product): from dy, the gradient of
// the loss with respect to the output, it computes the gradient with respect to an input.
//
// Layouts are NCHW for maps and [..., channels] for tokens. Shapes are checked; std::invalid_argument names
// the operator and both shapes.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace qhv {

// conv.cpp

struct ConvGeometry {
  int kernel = 1, stride = 1, pad = 0, groups = 1;
};

/// Throws unless kernel, stride and groups are positive and pad is not negative.
void validate(const ConvGeometry& g, std::string_view op);

/// floor((size + 2 pad - kernel) / stride) + 1
std::int64_t conv_extent(std::int64_t size, const ConvGeometry& g);

/// x [B, C, H, W], w [O, C / groups, k, k], b [O] or null -> [B, O, H', W']. Zero padding.
Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor* b, const ConvGeometry& g);

/// The weight's gradient has shape [O, C / groups, k, k], the bias's [O].
Tensor conv2d_backward_input(const Tensor& dy, const Tensor& w, const Shape& x_shape, const ConvGeometry& g);
Tensor conv2d_backward_weight(const Tensor& dy, const Tensor& x, const ConvGeometry& g);
Tensor conv2d_backward_bias(const Tensor& dy);

// matmul.cpp

/// x [..., K], w [N, K], b [N] or null -> x w^T + b, [..., N].
Tensor linear(const Tensor& x, const Tensor& w, const Tensor* b);

Tensor linear_backward_input(const Tensor& dy, const Tensor& w);
Tensor linear_backward_weight(const Tensor& dy, const Tensor& x);
Tensor linear_backward_bias(const Tensor& dy);

/// a [..., M, K] times b [..., K, N], or b [..., N, K] transposed, times `scale` -> [..., M, N].
Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_b, double scale);

/// `transpose_b` and `scale` as in the forward.
Tensor matmul_backward_a(const Tensor& dy, const Tensor& b, bool transpose_b, double scale);
Tensor matmul_backward_b(const Tensor& dy, const Tensor& a, bool transpose_b, double scale);

// attention.cpp

/// y = softmax(scale q k^T) v, and the probabilities that the softmax gives; q [..., N, D], k and v [..., M, .].
/// The same as matmul, softmax and matmul, but matrix by matrix, so that scores never leave the cache.
struct AttentionResult {
  Tensor y, probabilities;
};
AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, double scale);

struct AttentionGradients {
  Tensor dq, dk, dv;
};
AttentionGradients attention_backward(const Tensor& dy, const Tensor& q, const Tensor& k, const Tensor& v,
                                      const Tensor& probabilities, double scale);

// norm.cpp

/// Inference mode, per channel of x [B, C, ...]: (x - mean) / sqrt(var + eps) * weight + bias.
Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean,
                  const Tensor& var, double eps);

/// Mean and population variance (divided by the count) of each channel of x [B, C, ...], both [C].
struct BatchStatistics {
  Tensor mean, var;
  std::int64_t count = 0;  // elements of a channel
};

/// For training mode, which is batch_norm(x, weight, bias, stats.mean, stats.var, eps).
BatchStatistics batch_statistics(const Tensor& x);

/// Over the last axis of x [..., C]; weight and bias [C]. Population variance.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);

/// One group: over all of x [B, C, ...] but the batch; weight and bias [C].
Tensor group_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);

struct NormGradients {
  Tensor dx, dweight, dbias;
};

/// Of inference mode: mean and variance are constants.
NormGradients batch_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                  const Tensor& var, double eps);

/// Of training mode: also through the statistics, which are those of x.
NormGradients batch_norm_train_backward(const Tensor& dy, const Tensor& x, const Tensor& weight,
                                        const BatchStatistics& stats, double eps);
NormGradients layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, double eps);
NormGradients group_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, double eps);

/// Over the last axis, shifted by its maximum.
Tensor softmax(const Tensor& x);

/// From the output y.
Tensor softmax_backward(const Tensor& dy, const Tensor& y);

// elementwise.cpp

/// x / (1 + exp(-x))
Tensor silu(const Tensor& x);
Tensor relu(const Tensor& x);
Tensor add(const Tensor& a, const Tensor& b);

/// a * b with b's extent 1 broadcast along an axis of a (or a's along b's); equal ranks.
Tensor mul(const Tensor& a, const Tensor& b);

/// Computed in dy, which is returned. The gradient of relu is 0 at x <= 0.
Tensor silu_backward(Tensor dy, const Tensor& x);
Tensor relu_backward(Tensor dy, const Tensor& x);

/// For the operand of shape `shape`: dy * other, summed over the axes along which that operand was broadcast.
Tensor mul_backward(const Tensor& dy, const Tensor& other, const Shape& shape);

/// sum += x, for gradients that meet; equal shapes.
void accumulate(Tensor& sum, const Tensor& x);

// reduce.cpp

/// Sum over the last axis, kept with extent 1.
Tensor sum_last(const Tensor& x);

/// [B, C, H, W] -> [B, C], the mean over H and W.
Tensor global_avg_pool(const Tensor& x);

Tensor sum_last_backward(const Tensor& dy, const Shape& x_shape);
Tensor global_avg_pool_backward(const Tensor& dy, const Shape& x_shape);

/// The k largest of each row of x [B, N], largest first, ties by lower index, NaN below all -> B x k indices.
std::vector<std::vector<int>> top_k(const Tensor& x, int k);

// layout.cpp: permutations, of which split_heads and merge_heads, and unfold_patches and fold_patches, are
// each other's adjoints. The adjoint of concat_axis is a slice for each part.

Tensor concat_axis(const std::vector<const Tensor*>& parts, int axis);

/// Elements begin .. end-1 of an axis.
Tensor slice(const Tensor& x, int axis, std::int64_t begin, std::int64_t end);

/// The adjoint of slice, added to dx: dy goes to the elements from `begin` on. It accumulates, so that the slices
/// of one tensor need no full gradient each.
void slice_accumulate(Tensor& dx, const Tensor& dy, int axis, std::int64_t begin);

/// [B, N, C] -> [B, heads, N, C / heads], and back.
Tensor split_heads(const Tensor& x, int heads);
Tensor merge_heads(const Tensor& x);

/// Where the pixels of a map go when it becomes tokens. A patch is p x p pixels, P = p * p positions in it, N
/// patches; position and patch are both counted row by row. MobileViTv1 uses kTokens, v2 kChannelsFirst.
enum class PatchLayout {
  kTokens,        // [B, C, H, W] <-> [B * P, N, C]
  kChannelsFirst  // [B, C, H, W] <-> [B, C, P, N]
};

/// H and W must be multiples of `patch`.
Tensor unfold_patches(const Tensor& x, int patch, PatchLayout layout);

/// Back to [B, C, height, width].
Tensor fold_patches(const Tensor& x, int patch, PatchLayout layout, std::int64_t height, std::int64_t width);

// resize.cpp

/// Bilinear without antialiasing, as torch.nn.functional.interpolate: with align_corners the corner pixels'
/// centres coincide, otherwise the maps' outer edges do. [B, C, H, W] -> [B, C, height, width].
Tensor resize_bilinear(const Tensor& x, std::int64_t height, std::int64_t width, bool align_corners);

/// One output coordinate along an axis: a blend of two input coordinates.
struct ResizeTap {
  std::int64_t low = 0, high = 0;
  double high_weight = 0;
};

/// From `in` to `out` coordinates.
std::vector<ResizeTap> resize_taps(std::int64_t in, std::int64_t out, bool align_corners);

/// height and width are those of the forward's input.
Tensor resize_bilinear_backward(const Tensor& dy, std::int64_t height, std::int64_t width,
                                bool align_corners);

// rounding.cpp

/// To the nearest integer, halves to even.
Tensor round_half_even(const Tensor& x);

/// AdaRound's h(v) = clip(1.2 sigmoid(v) - 0.1, 0, 1) (arXiv 2004.10568, equation 23); its gradient is zero
/// where it is clipped.
Tensor rectified_sigmoid(const Tensor& v);
Tensor rectified_sigmoid_backward(Tensor dy, const Tensor& v);

// loss.cpp

/// Mean over the rows of logits [B, N] of the cross-entropy with the targets (1 - smoothing) one-hot +
/// smoothing / N. A scalar.
Tensor cross_entropy(const Tensor& logits, const std::vector<int>& labels, double smoothing);
Tensor cross_entropy_backward(const Tensor& dy, const Tensor& logits, const std::vector<int>& labels,
                              double smoothing);

}  // namespace qhv
