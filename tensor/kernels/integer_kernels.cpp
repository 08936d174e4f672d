#include "tensor/kernels/integer_kernels.h"

#include <string>

#include "tensor/check.h"

namespace qhv {
namespace {

constexpr const IntegerKernels* kTables[] = {
#if defined(__x86_64__)
    &kIntegerKernelsAmx,     &kIntegerKernelsVnni, &kIntegerKernelsVnni256,
    &kIntegerKernelsAvxVnni, &kIntegerKernelsAvx2,
#endif
    &kIntegerKernelsRef};

}  // namespace

std::span<const IntegerKernels* const> integer_kernel_tables() { return kTables; }

const IntegerKernels& best_integer_kernels() {
  for (const IntegerKernels* table : kTables)
    if (table->is_supported()) return *table;
  return kIntegerKernelsRef;
}

const IntegerKernels& find_integer_kernels(std::string_view name) {
  std::string known;
  for (const IntegerKernels* table : kTables) {
    if (table->name == name) {
      require(table->is_supported(), "kernels", "this CPU cannot execute the integer kernels \"", name, '"');
      return *table;
    }
    known += concat(known.empty() ? "" : ", ", table->name);
  }
  fail("kernels", concat("no integer kernels \"", name, "\" in this build (it has ", known, ")"));
}

}  // namespace qhv
