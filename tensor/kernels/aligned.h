// Floats on the boundary of a cache line, for kernels: a vector that straddles two lines takes twice the time
// to load.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace qhv {

inline constexpr std::int64_t kAlignedFloats = 16;  // of a cache line

class AlignedFloats {
 public:
  AlignedFloats() : AlignedFloats(0) {}
  /// `size` zeros.
  explicit AlignedFloats(std::int64_t size)
      : size_(size), data_(new (std::align_val_t(kAlignedFloats * 4)) float[std::size_t(size)]{}) {}

  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  std::int64_t size() const { return size_; }

 private:
  struct Delete {
    void operator()(float* p) const { ::operator delete[](p, std::align_val_t(kAlignedFloats * 4)); }
  };
  std::int64_t size_;
  std::unique_ptr<float[], Delete> data_;
};

/// The next multiple of a cache line.
inline std::int64_t aligned_size(std::int64_t floats) {
  return (floats + kAlignedFloats - 1) / kAlignedFloats * kAlignedFloats;
}

}  // namespace qhv
