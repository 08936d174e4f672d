// Threads that stay, for work that comes in many small pieces one after the other, as the steps of a network
// do: parallel_for (parallel.h) starts threads anew each time, which takes longer than such a piece.
//
// A pool of n threads is the caller and n - 1 others. After work they wait for more without sleeping for a
// few dozen microseconds. As with parallel_for, an item must write only what belongs to it.
//
// Each thread begins with a stretch of the items of its own, the same one for the same count, so that it
// finds in its cache what it wrote the last time; when it is done with it, it takes from the others'.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace qhv {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int threads() const { return int(helpers_.size()) + 1; }

  /// Refers to a function void(std::int64_t item, int thread) that outlives it: unlike std::function it
  /// allocates nothing. `thread` is below threads(): which memory of its own an item may use.
  class Work {
   public:
    template <typename Function>
    Work(const Function& function)
        : function_(&function), call_([](const void* f, std::int64_t item, int thread) {
            (*static_cast<const Function*>(f))(item, thread);
          }) {}
    void operator()(std::int64_t item, int thread) const { call_(function_, item, thread); }

   private:
    const void* function_;
    void (*call_)(const void*, std::int64_t, int);
  };

  /// Calls work for item = 0 .. count-1. The first exception stops the handing out and is rethrown here.
  void run(std::int64_t count, const Work& work);

 private:
  struct alignas(64) Share {  // of the items; a cache line each
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };

  void help(int thread);
  void drain(int thread);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<std::uint64_t> round_{0};  // of work
  std::atomic<bool> stop_{false};
  const Work* work_ = nullptr;
  std::vector<Share> shares_;  // by thread
  std::atomic<int> busy_{0};   // helpers that have not finished the round
  std::exception_ptr error_;
  std::vector<std::thread> helpers_;
};

}  // namespace qhv
