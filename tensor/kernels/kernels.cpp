#include "tensor/kernels/kernels.h"

#include <string>
#include <string_view>

#include "tensor/check.h"

namespace qhv {
namespace {

constexpr const FloatKernels* kTables[] = {
#if defined(__x86_64__)
    &kFloatKernelsAvx512, &kFloatKernelsAvx2,
#endif
    &kFloatKernelsPortable};

}  // namespace

std::span<const FloatKernels* const> float_kernel_tables() { return kTables; }

const FloatKernels& best_float_kernels() {
  for (const FloatKernels* table : kTables)
    if (table->is_supported()) return *table;
  return kFloatKernelsPortable;
}

const FloatKernels& find_float_kernels(std::string_view name) {
  std::string known;
  for (const FloatKernels* table : kTables) {
    if (table->name == name) {
      require(table->is_supported(), "kernels", "this CPU cannot execute the kernels \"", name, '"');
      return *table;
    }
    known += concat(known.empty() ? "" : ", ", table->name);
  }
  fail("kernels", concat("no kernels \"", name, "\" in this build (it has ", known, ")"));
}

}  // namespace qhv
