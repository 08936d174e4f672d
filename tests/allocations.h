// Counts what the test program allocates: allocations.cpp replaces operator new.
#pragma once

#include <cstdint>
#include <functional>

namespace qhv::test {

/// How often `action` calls operator new, on all threads.
std::int64_t allocations_of(const std::function<void()>& action);

}  // namespace qhv::test
