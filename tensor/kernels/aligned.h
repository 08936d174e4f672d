// Memory on the boundary of a cache line, for kernels: a vector that straddles two lines takes twice the time
// to load.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace qhv {

inline constexpr std::size_t kCacheLine = 64;

template <typename T>
class Aligned {
 public:
  Aligned() : Aligned(0) {}
  /// `size` zeros.
  explicit Aligned(std::int64_t size)
      : size_(size), data_(new (std::align_val_t(kCacheLine)) T[std::size_t(size)]{}) {}

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::int64_t size() const { return size_; }

 private:
  struct Delete {
    void operator()(T* p) const { ::operator delete[](p, std::align_val_t(kCacheLine)); }
  };
  std::int64_t size_;
  std::unique_ptr<T[], Delete> data_;
};

using AlignedFloats = Aligned<float>;

/// The next multiple of a cache line, in floats.
inline std::int64_t aligned_size(std::int64_t floats) {
  constexpr std::int64_t kFloats = kCacheLine / sizeof(float);
  return (floats + kFloats - 1) / kFloats * kFloats;
}

}  // namespace qhv
