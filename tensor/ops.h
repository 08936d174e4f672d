// The operators of MobileViT on values: pure functions from tensors to a new tensor. These are the
// definitions that all faster code is compared with; they are single-threaded, and every sum over more than a
// few terms is in double (the matrix products leave that to the kernel chosen in gemm.h).
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

// matmul.cpp

/// x [..., K], w [N, K], b [N] or null -> x w^T + b, [..., N].
Tensor linear(const Tensor& x, const Tensor& w, const Tensor* b);

/// a [..., M, K] times b [..., K, N], or b [..., N, K] transposed, times `scale` -> [..., M, N].
Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_b, double scale);

// norm.cpp

/// Inference mode, per channel of x [B, C, ...]: (x - mean) / sqrt(var + eps) * weight + bias.
Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean,
                  const Tensor& var, double eps);

/// Over the last axis of x [..., C]; weight and bias [C]. Population variance.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);

/// One group: over all of x [B, C, ...] but the batch; weight and bias [C].
Tensor group_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);

/// Over the last axis, shifted by its maximum.
Tensor softmax(const Tensor& x);

// elementwise.cpp

/// x / (1 + exp(-x))
Tensor silu(const Tensor& x);
Tensor relu(const Tensor& x);
Tensor add(const Tensor& a, const Tensor& b);

/// a * b with b's extent 1 broadcast along an axis of a (or a's along b's); equal ranks.
Tensor mul(const Tensor& a, const Tensor& b);

// reduce.cpp

/// Sum over the last axis, kept with extent 1.
Tensor sum_last(const Tensor& x);

/// [B, C, H, W] -> [B, C], the mean over H and W.
Tensor global_avg_pool(const Tensor& x);

/// The k largest of each row of x [B, N], largest first, ties by lower index, NaN below all -> B x k indices.
std::vector<std::vector<int>> top_k(const Tensor& x, int k);

// layout.cpp

Tensor concat_axis(const std::vector<const Tensor*>& parts, int axis);

/// Elements begin .. end-1 of an axis.
Tensor slice(const Tensor& x, int axis, std::int64_t begin, std::int64_t end);

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

}  // namespace qhv
