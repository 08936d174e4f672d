// Work on independent items by several threads. Items are handed out in order, one at a time; which thread
// gets which is not fixed, so an item must write only what belongs to it. Combine the items' results in order
// afterwards and the outcome has the same bits with any number of threads.
#pragma once

#include <cstdint>
#include <functional>

namespace qhv {

/// Calls work(item) for item = 0 .. count-1 on at most `threads` threads (the caller is one of them). The
/// first exception stops the handing out and is rethrown here.
void parallel_for(std::int64_t count, int threads, const std::function<void(std::int64_t item)>& work);

}  // namespace qhv
