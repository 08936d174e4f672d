// How integers in a buffer of the integer engine mean real numbers: by column (a channel, or one of q, k, v)
//
//   real = scale * (code - zero),   lo <= code <= hi
//
// The codes of a plan's quantiser are shifted so that they fit the type that holds them: codes of up to 8
// bits begin at 0 (u8), those of 16 bits at -32768 (i16). Logits are 32 bits with a scale that is a power of
// two.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quant/qparams.h"

namespace qhv {

enum class CodeType { kU8, kI16, kI32 };

/// Bytes of a code.
std::int64_t code_size(CodeType type);

struct Encoding {
  CodeType type = CodeType::kU8;
  std::vector<double> scale;
  std::vector<std::int32_t> zero, lo, hi;

  std::int64_t columns() const { return std::int64_t(scale.size()); }
  bool operator==(const Encoding&) const = default;

  /// Columns first .. first + count - 1.
  Encoding slice(std::int64_t first, std::int64_t count) const;
  /// Appends the columns of another one of the same type.
  void append(const Encoding& other);
  /// Whether all columns are alike.
  bool is_uniform() const;
};

/// `columns` columns with the parameters of q, whose index of the axis is the column, or of which each index
/// owns `columns / indices` consecutive columns (heads). Throws std::invalid_argument, naming `where`, if the
/// numbers do not fit.
Encoding encoding_of(const QParams& q, std::int64_t columns, const std::string& where);

/// 32-bit codes of scale 2^-bits.
Encoding logits_encoding(std::int64_t columns, int bits);

}  // namespace qhv
