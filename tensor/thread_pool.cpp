#include "tensor/thread_pool.h"

#include <algorithm>
#include <chrono>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qhv {
namespace {

constexpr auto kPatience = std::chrono::microseconds(50);

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

/// Waits for `done` without sleeping; false when patience ends.
template <typename Done>
bool spin_until(Done done) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

ThreadPool::ThreadPool(int threads) : shares_(std::size_t(std::max(threads, 1))) {
  for (int i = 1; i < threads; ++i) helpers_.emplace_back([this, i] { help(i); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadPool::run(std::int64_t count, const Work& work) {
  if (helpers_.empty() || count < 2) {
    for (std::int64_t item = 0; item < count; ++item) work(item, 0);
    return;
  }
  work_ = &work;
  const std::int64_t threads = std::ssize(shares_);
  for (std::int64_t t = 0; t < threads; ++t) {
    shares_[std::size_t(t)].next = t * count / threads;
    shares_[std::size_t(t)].end = (t + 1) * count / threads;
  }
  error_ = nullptr;
  busy_ = int(helpers_.size());
  {
    const std::lock_guard lock(mutex_);
    ++round_;
  }
  wake_.notify_all();
  drain(0);
  while (busy_ > 0) pause();
  if (error_) std::rethrow_exception(error_);
}

void ThreadPool::drain(int thread) {
  try {
    for (std::size_t i = 0; i < shares_.size(); ++i) {
      Share& share = shares_[(std::size_t(thread) + i) % shares_.size()];
      for (std::int64_t item; (item = share.next.fetch_add(1)) < share.end;) (*work_)(item, thread);
    }
  } catch (...) {
    for (Share& share : shares_) share.next = share.end;
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

void ThreadPool::help(int thread) {
  std::uint64_t seen = 0;
  const auto called = [&] { return stop_ || round_ != seen; };
  for (;;) {
    if (!spin_until(called)) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, called);
    }
    if (stop_) return;
    seen = round_;
    drain(thread);
    --busy_;
  }
}

}  // namespace qhv
