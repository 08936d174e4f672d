// A float network compiled for speed: a list of steps over numbered buffers, with BatchNorm folded,
// convolution, bias, activation and residual in one step, attention in one step, weights packed once.
// executor.h runs it.
//
// Maps and tokens lie channels last: a buffer is [image][row][channels], a row being a pixel. Tokens keep the
// order of the pixels that they are, so that MobileViT's reshapes to patches and back are no steps at all:
// normalisations and projections take rows in any order, and attention knows which rows belong together.
// Buffers have offsets in one arena, shared by those that do not live at the same time.
//
// A network whose layers round what they read (fake quantisation) is compiled with a rounding for each such
// edge.
//
// Errors: std::invalid_argument "[compile] ...", naming the node, for operators or arrangements of them that
// have no step. There is no fallback: run.h computes every graph.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "nn/executor/buffers.h"
#include "nn/executor/tokens.h"
#include "nn/graph.h"
#include "nn/run.h"
#include "tensor/kernels/packed_matrix.h"
#include "tensor/winograd.h"

namespace qhv {

/// Rounds what an input of a layer reads, [rows, channels] side by side, to dst, which may be src. `head`: of
/// attention's matrix products; -1 elsewhere.
using RoundRows = std::function<void(const float* src, float* dst, std::int64_t rows, std::int64_t channels,
                                     std::int64_t head)>;

/// The rounding of an edge; empty where there is none.
using Roundings = std::function<RoundRows(Edge)>;

// Steps. All sizes are those of one image. Sources and destination are the step's buffers.

/// Channels last from what the caller gives, [channels, height, width], with a border of `pad` zeros.
struct LoadInput {
  std::int64_t channels = 0, height = 0, width = 0, pad = 0;
};

/// A map [height, width, channels] with a border of `pad` zeros.
struct PadMap {
  std::int64_t channels = 0, height = 0, width = 0, pad = 0;
};

struct RoundMap {
  RoundRows round = {};
  std::int64_t rows = 0, channels = 0;
};

/// Convolutions and linear layers: GemmTask over `rows` rows, plus the second source as residual if there is
/// one.
struct Multiply {
  PackedMatrix weights = {};
  std::int64_t rows = 0, src_stride = 0, src_size = 0;  // src_size: floats of an image of the source
  std::vector<std::int32_t> src_rows = {};              // or none: rows follow each other
  std::int64_t segments = 1, segment_stride = 0;
  Activation activation = Activation::kNone;
};

struct Depthwise {
  AlignedFloats weights, bias;  // [9, channels], [channels]
  std::int64_t channels = 0, height = 0, width = 0, out_height = 0, out_width = 0, stride = 1;
  Activation activation = Activation::kNone;
};

/// Three convolutions in one (inverted_residual.h), plus the second source as residual if there is one.
struct InvertedResidual {
  PackedMatrix expand = {};
  Depthwise middle = {};
  PackedMatrix project = {};
};

struct NormalizeRows {  // LayerNorm
  AlignedFloats weight, bias;
  std::int64_t rows = 0, channels = 0;
  float eps = 0;
};

struct NormalizeImage {  // GroupNorm with one group
  AlignedFloats weight, bias;
  std::int64_t rows = 0, channels = 0;
  double eps = 0;
};

/// softmax(scale q k^T) v for each head and each position.
struct Attention {
  ProjectedTokens in = {};
  int heads = 1;
  std::int64_t head_size = 0;
  float scale = 1;
  RoundRows round_q = {}, round_k = {}, round_v = {}, round_probabilities = {};
};

/// relu(v) * sum over tokens of softmax(q) k (arXiv 2206.02680), for each position.
struct SeparableAttention {
  ProjectedTokens in = {};
  std::int64_t channels = 0;
};

struct Join {  // sources side by side, with these channels each
  std::vector<std::int64_t> channels = {};
  std::int64_t rows = 0;
};

struct AddMaps {
  std::int64_t size = 0;
};

struct ActivateMap {  // SiLU
  std::int64_t size = 0;
};

/// The mean over rows.
struct PoolMap {
  std::vector<std::int32_t> offsets = {};  // of the rows
  std::vector<float> factors = {};         // 1 / rows, for each
  std::int64_t channels = 0;
};

struct ResizeMap {
  std::vector<ResizeTap> rows = {}, columns = {};  // of the destination
  std::int64_t channels = 0, height = 0, width = 0;
};

using StepOp = std::variant<LoadInput, PadMap, RoundMap, Multiply, WinogradConv, Depthwise, InvertedResidual,
                            NormalizeRows, NormalizeImage, Attention, SeparableAttention, Join, AddMaps,
                            ActivateMap, PoolMap, ResizeMap>;

/// "load", "pad", "matrix product", ...
const char* step_kind(const StepOp& op);

struct Step {
  std::string name;  // of the node whose output it computes
  StepOp op;
  std::vector<int> src;  // buffers
  int dst = -1;
  std::int64_t macs = 0;  // multiply-accumulates for one image, as papers count
};

struct Program {
  const FloatKernels* kernels = nullptr;
  std::vector<Step> steps;
  std::vector<Buffer> buffers;
  std::int64_t arena_size = 0;    // floats of one image
  std::int64_t scratch_size = 0;  // floats that one thread needs besides
  Shape input_shape;              // [channels, height, width]
  std::int64_t outputs = 0;
};

/// Compiles a graph whose output is [B, N]. BatchNorm is folded first where it has not been; `roundings` are
/// those of the folded graph, of inputs of convolutions, linear layers and matrix products.
Program compile(const Graph& graph, const FloatKernels& kernels = best_float_kernels(),
                const Roundings& roundings = {});

/// Bytes of packed weights.
std::int64_t weight_bytes(const Step& step);
std::int64_t weight_bytes(const Program& program);

}  // namespace qhv
