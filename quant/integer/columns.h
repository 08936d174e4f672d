// What the sums of a step mean as real numbers, and the second halves of steps that follow from it.
#pragma once

#include "quant/integer/program.h"
#include "quant/integer/readers.h"

namespace qhv {

/// A column of sums: real = unit * (sum - center) + bias.
struct Column {
  double unit = 1, bias = 0;
  std::int64_t center = 0;
  double largest = 0;  // no |sum| is above it
};

/// To the codes of an encoding. `where` opens the error message.
Requantization to_codes(const std::vector<Column>& columns, const Encoding& e, const std::string& where);

/// A form as an output that has no numbers yet.
Output output_of(const Form& form);

/// Into the forms of `node`, as the sums are.
void store_plain(Store& store, Readers& readers, int node, const std::vector<Column>& columns,
                 const std::string& where);

/// By way of the SiLU `silu`, into its forms.
void store_silu(Store& store, Readers& readers, int silu, const std::vector<Column>& columns,
                const std::string& where);

/// As operand `slot` of the addition `add`, whose other operand is stored, into its forms.
void store_add(Store& store, Readers& readers, int add, int slot, const std::vector<Column>& columns,
               const std::string& where);

/// Into 32 bits, as fine as they permit, up to 16 bits behind the point. Appends the buffer, and returns the
/// scale.
double store_logits(Store& store, std::vector<Buffer>& buffers, const std::vector<Column>& columns,
                    const std::string& where);

}  // namespace qhv
