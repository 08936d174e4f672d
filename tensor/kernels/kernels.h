// The float kernels behind the executor (nn/executor/executor.h), for maps and tokens that lie channels last,
// that is as rows of pixels or tokens with the channels of one row side by side; and behind the operators of
// ops.h in float, by gemm_packed.h and loops.h.
//
// One source (simd.h) is compiled for each instruction set; the table of the best one that the CPU has is
// the default. Vectors of a table have `lanes` floats. Kernels work on the calling thread, on a stretch of
// rows that the caller chooses, and read and write unaligned memory. Multiply-adds are fused here, so results
// differ from those of plain C++, and between tables, within rounding; they do not depend on how rows are
// split among threads.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tensor/kernels/planes.h"

namespace qhv {

enum class Activation { kNone, kSilu };

/// Some columns of a packed matrix (packed_matrix.h): `vectors` vectors of them from column `start` on.
struct GemmPanel {
  std::int64_t start = 0;
  int vectors = 1;
  int columns = 0;                 // of these; the last vector may be partly filled, with zeros behind
  const float* weights = nullptr;  // [depth][vectors * lanes]
  const float* bias = nullptr;     // [vectors * lanes]
};

/// dst[m] = activation(bias + row_bias[m] + sum over segments and k of src[m][segment * segment_stride + k] *
/// W[.][.]) + residual[m]
///
/// A segment is a row of a convolution's window, whose pixels lie side by side; matrix products have one. dst
/// must not overlap src. It may be the residual, so that a product is added to what it holds, if no column is
/// in two panels; apart from that they must not overlap.
struct GemmTask {
  const float* src = nullptr;
  std::int64_t src_stride = 0;             // from row to row,
  const std::int32_t* src_rows = nullptr;  // or, if given, where each row starts
  std::int64_t segments = 1, segment_stride = 0, segment_depth = 0;
  const GemmPanel* panels = nullptr;
  int panel_count = 0;
  float* dst = nullptr;
  std::int64_t dst_stride = 0;
  const float* row_bias = nullptr;  // by row, or null: added to the bias
  const float* residual = nullptr;  // or null
  std::int64_t residual_stride = 0;
  Activation activation = Activation::kNone;
};

/// Rows of a 3x3 depthwise convolution with padding 1, of one image.
struct DepthwiseTask {
  const float* src = nullptr;      // [height, width, channels],
  std::int64_t src_period = 0;     // or as many rows as this, row y being number y % src_period of them
  float* dst = nullptr;            // the first one of the rows computed, [out_width, channels]
  const float* weights = nullptr;  // [9, channels]
  const float* bias = nullptr;     // [channels]
  std::int64_t height = 0, width = 0, channels = 0, out_width = 0, stride = 1;
  Activation activation = Activation::kNone;
};

/// Tiles of 4x4 outputs of a 3x3 convolution with padding 1 of maps [..., height, width, channels], counted
/// map by map and row by row; the last ones of a row or column may reach beyond the map.
struct WinogradTiles {
  std::int64_t begin = 0, end = 0;
  std::int64_t height = 0, width = 0, channels = 0;
  std::int64_t plane = 0;  // floats from one of the 36 positions to the next
};

/// Independent chains of multiply_adds(): more than two units of a latency of five keep busy, and as many as
/// 16 registers hold beside the two factors.
inline constexpr int kMultiplyAddChains = 12;

struct FloatKernels {
  const char* name;
  int lanes;
  int max_vectors;         // of a panel
  int tile_rows[5];        // rows that a product computes at once, by the panel's vectors
  bool (*is_supported)();  // by this CPU

  void (*gemm)(const GemmTask&, std::int64_t row_begin, std::int64_t row_end);
  void (*depthwise)(const DepthwiseTask&, std::int64_t row_begin,
                    std::int64_t row_end);  // rows of the output
  /// The transformed windows of the tiles, dst [36][tile][channels]: B^T d B (winograd.h).
  void (*winograd_scatter)(const WinogradTiles&, const float* maps, float* dst);
  /// What products [36][tile][channels] amount to, A^T m A, plus the bias, activated, into the maps.
  void (*winograd_gather)(const WinogradTiles&, const float* products, const float* bias, Activation,
                          float* maps);
  /// The adjoint of its sums: A y A^T of the tiles y of maps, dst [36][tile][channels].
  void (*winograd_gather_backward)(const WinogradTiles&, const float* maps, float* dst);

  void (*silu)(const float* src, float* dst, std::int64_t count);
  /// dx[i] *= the derivative of silu at x[i]
  void (*silu_backward)(const float* x, float* dx, std::int64_t count);
  void (*add)(const float* a, const float* b, float* dst, std::int64_t count);
  double (*sum)(const float* src, std::int64_t count);
  double (*sum_of_squares)(const float* src, float mean, std::int64_t count);  // of src - mean
  /// dst[m][c] = src[m][c] * scale[c] + shift[c]
  void (*scale_shift)(const float* src, float* dst, std::int64_t rows, std::int64_t channels,
                      const float* scale, const float* shift);
  void (*layer_norm)(const float* src, float* dst, std::int64_t rows, std::int64_t channels,
                     const float* weight, const float* bias, float eps);
  /// In place, over the columns of [rows, width] times scale (positive), width a multiple of `lanes`. They
  /// are left unnormalised: factors[c] is what column c has to be multiplied by.
  void (*softmax_columns)(float* values, std::int64_t rows, std::int64_t width, float scale, float* factors);
  /// Over rows of any length, one behind the other; and its adjoint, from the output y: dx = y (dy - <dy,
  /// y>).
  void (*softmax_rows)(const float* src, float* dst, std::int64_t rows, std::int64_t width);
  void (*softmax_backward)(const float* dy, const float* y, float* dx, std::int64_t rows, std::int64_t width);
  /// The sums of dy and of dy * (x - mean)
  void (*gradient_sums)(const float* dy, const float* x, double mean, std::int64_t count, double* sum_dy,
                        double* sum_dy_x);
  /// dst[i] = src[i] and dst[i] += src[i] in each row of a plane
  void (*copy_rows)(const float* src, float* dst, const PlaneRows& rows);
  void (*add_rows)(const float* src, float* dst, const PlaneRows& rows);
  /// In each row of a plane: dst[i] = bias + sum over taps of weight * src[offset + i]
  void (*weigh_taps)(const float* src, const Tap<float>* taps, int count, float bias, float* dst,
                     const PlaneRows& rows);
  /// sums[t] += sum over rows and i of dy[i] * src[taps[t].offset + i], where dy has the rows of a dst
  void (*add_products)(const float* dy, const float* src, const Tap<float>* taps, int count, double* sums,
                       const PlaneRows& rows);
  /// dst[c * stride + r] = src[offsets[r] + c]
  void (*transpose)(const float* src, const std::int32_t* offsets, std::int64_t rows, std::int64_t columns,
                    float* dst, std::int64_t stride);
  /// dst[offsets[c] + r] = src[r * stride + c] * factors[c]
  void (*scatter_columns)(const float* src, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                          const float* factors, const std::int32_t* offsets, float* dst);
  /// The panels of a matrix src [rows, columns], one after another: `width` columns each, and what is left in
  /// the last one, with zeros up to a whole vector.
  void (*pack)(const float* src, std::int64_t stride, std::int64_t rows, std::int64_t columns,
               std::int64_t width, float* dst);
  /// dst[3 x + c] = src[c * plane + x] for three channels and `count` pixels
  void (*interleave3)(const float* src, std::int64_t plane, std::int64_t count, float* dst);
  /// dst[c] = sum_n factors[n] * src[offsets[n] + c]
  void (*weighted_sum)(const float* src, const std::int32_t* offsets, const float* factors,
                       std::int64_t count, float* dst, std::int64_t channels);
  /// dst[c] = max(src[c], 0) * factors[c]
  void (*gate)(const float* src, const float* factors, float* dst, std::int64_t channels);
  /// One multiply-add in each lane of each chain, `rounds` times: the most that the CPU can do.
  float (*multiply_adds)(std::int64_t rounds);
};

extern const FloatKernels kFloatKernelsAvx512, kFloatKernelsAvx2, kFloatKernelsPortable;

/// The tables of this build, the fastest first.
std::span<const FloatKernels* const> float_kernel_tables();

/// The first one that this CPU supports.
const FloatKernels& best_float_kernels();

/// Throws std::invalid_argument if there is none of this name, listing the known ones, or if this CPU lacks
/// what it needs.
const FloatKernels& find_float_kernels(std::string_view name);

}  // namespace qhv
