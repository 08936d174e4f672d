// A quantised network as a program of integers: from the codes of an image to 32-bit logits without a
// floating-point instruction. lower.h makes it from a graph and its plan, engine.h runs it.
//
// Every step has two halves. The first one computes 32-bit sums for a row of a map: sums of products of
// codes, a normalised row, a sum over pixels. The second one, Store, makes of them what the step's readers
// want: the codes of each reader's own quantiser, behind SiLU or an addition if there is one. A value is thus
// kept in the form in which it is read, once for each different form, exactly as the plan says; nothing else
// is rounded.
//
// Maps and tokens lie channels last; tokens keep the order of the pixels that they are (nn/executor/program.h
// says more). Buffers are of bytes, shared in one arena by those that do not live at the same time.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "nn/executor/buffers.h"
#include "nn/executor/tokens.h"
#include "quant/integer/encoding.h"
#include "quant/integer/planes.h"
#include "quant/integer/requantization.h"
#include "tensor/kernels/packed_int8.h"
#include "tensor/ops.h"

namespace qhv {

// First halves. All sizes are those of one image.

/// The network's input: codes of the image, channels last, with a border of `pad` zero points.
struct LoadCodes {
  Encoding encoding = {};
  std::int64_t channels = 0, height = 0, width = 0, pad = 0;
};

/// A map of bytes with a border of zero points.
struct PadCodes {
  std::vector<std::uint8_t> zero = {};  // by channel
  std::int64_t channels = 0, height = 0, width = 0, pad = 0;
};

/// Convolutions and linear layers. weight_zero: by column what has to be subtracted from the packed codes, or
/// none if it is nothing anywhere; then the row's sum of codes times it is subtracted from the sums.
/// high_shift: if the input has two planes (planes.h), of which the second buffer holds the high one; its
/// sums are shifted by so much and added.
struct MultiplyCodes {
  PackedInt8 weights = {};
  std::vector<std::int32_t> weight_zero = {};
  std::int64_t rows = 0, src_stride = 0;    // in codes
  std::vector<std::int32_t> src_rows = {};  // or none: rows follow each other
  std::int64_t segment_stride = 0, segment_size = 0;
  std::optional<int> high_shift = {};
};

struct DepthwiseCodes {
  std::vector<std::int8_t> weights = {};       // [9, channels]
  std::vector<std::int32_t> weight_zero = {};  // as of MultiplyCodes
  std::vector<std::uint8_t> zero = {};  // of the input, [planes][channels]: what stands outside of the map
  std::int64_t channels = 0, height = 0, width = 0, out_height = 0, out_width = 0, stride = 1;
  std::optional<int> high_shift = {};  // as of MultiplyCodes
};

/// LayerNorm (groups of one row) and GroupNorm with one group (all rows): sums are (x - mean) / sqrt(var +
/// eps) in units of 2^-16. `eps` is in units of 2^-16 square codes.
struct NormalizeCodes {
  std::int64_t rows = 0, channels = 0, eps = 1;
  bool by_row = true;
};

/// softmax(scale q k^T) v for each head and position; what is by head has an entry for each.
struct AttendCodes {
  ProjectedTokens in = {};
  std::int64_t heads = 1, head_size = 0;
  std::vector<std::int32_t> zero_q = {}, zero_k = {}, zero_v = {};
  std::vector<Requantization> scores = {};  // to the codes of softmax's input; a column for each token
  std::vector<std::array<std::uint16_t, 256>> exponents = {};
  std::vector<SoftmaxTask> softmax = {};  // without `exponents`
  /// Instead of these two, where the quantiser of probabilities is not uniform.
  std::vector<PlanedSoftmax> planes = {};
};

/// relu(v) * sum over tokens of softmax(q) k, for each position. The clipping is in the codes of v.
struct SeparableAttendCodes {
  ProjectedTokens in = {};
  std::int64_t channels = 0;
  std::array<std::uint16_t, 256> exponents = {};
  SoftmaxTask softmax = {};  // without `exponents`
  std::vector<std::int32_t> zero_k = {}, zero_v = {};
  Requantization context = {};
  std::vector<std::int32_t> zero_context = {};
};

/// Sums over all rows.
struct PoolCodes {
  std::int64_t rows = 0, channels = 0;
};

/// In units of 2^-7 codes.
struct ResizeCodes {
  struct Tap {
    std::int64_t low = 0, high = 0;
    std::int32_t high_weight = 0;  // of 2^12
  };
  std::vector<Tap> rows = {}, columns = {};  // of the destination
  std::int64_t channels = 0, height = 0, width = 0;
};

/// The codes themselves, for what has to be stored in another form.
struct CopyCodes {
  CodeType type = CodeType::kU8;
  std::int64_t rows = 0, channels = 0;
};

using SumsOp = std::variant<LoadCodes, PadCodes, MultiplyCodes, DepthwiseCodes, NormalizeCodes, AttendCodes,
                            SeparableAttendCodes, PoolCodes, ResizeCodes, CopyCodes>;

/// "load", "pad", "matrix product", ...
const char* sums_kind(const SumsOp& op);

// Second halves.

/// A form in which the result is stored: columns `column` .. of rows of `stride` codes of a buffer.
struct Output {
  int buffer = -1;
  CodeType type = CodeType::kU8;
  std::int64_t column = 0, stride = 0;
  Requantization to_codes = {};  // of sums, of an addition, or of SiLU's values
  std::vector<std::int32_t> addend_multiplier = {};
  /// SiLU by the code of its input, where all columns are alike: then to_codes is not needed.
  std::optional<std::array<std::int16_t, 256>> table = {};
};

/// Without `inner` sums become codes; with it they first become the codes that SiLU or an addition reads.
struct Store {
  std::int64_t columns = 0;
  std::optional<Requantization> inner = {};
  std::array<std::int32_t, 256> silu = {};  // values, where an output has no table of its own
  bool has_silu = false;
  int addend = -1;  // buffer of the addition's other operand, 16 bits
  std::vector<Output> outputs = {};
};

struct IntegerStep {
  std::string name;  // of the node whose output it stores
  SumsOp op;
  std::vector<int> src = {};  // buffers, the addend not among them
  Store store = {};           // of load and pad: one output, which they write themselves
  std::int64_t macs = 0;
};

struct IntegerProgram {
  std::vector<IntegerStep> steps;
  std::vector<Buffer> buffers;  // in bytes
  std::int64_t arena_size = 0;  // bytes of one image
  Shape input_shape;            // [channels, height, width]
  std::int64_t outputs = 0;
  double logit_scale = 1;
};

/// Bytes of weights, of what requantisation needs, and of softmax's tables.
std::int64_t weight_bytes(const IntegerStep& step);
std::int64_t weight_bytes(const IntegerProgram& program);

}  // namespace qhv
