#include "tests/allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::int64_t> allocations{0};

void* counted(void* memory) {
  if (!memory) throw std::bad_alloc();
  ++allocations;
  return memory;
}

}  // namespace

// The forms for arrays call these. So do the others that do not throw, but for AddressSanitizer's, which
// would meet these operators delete.
void* operator new(std::size_t size) { return counted(std::malloc(size ? size : 1)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size ? size : 1);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto unit = std::size_t(alignment);
  return counted(std::aligned_alloc(unit, (size + unit - 1) / unit * unit));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace qhv::test {

std::int64_t allocations_of(const std::function<void()>& action) {
  const std::int64_t before = allocations;
  action();
  return allocations - before;
}

}  // namespace qhv::test
