// The value that everything here computes with: a row-major, contiguous, owning array with a shape.
//
//   Tensor x({2, 3});            // 2 x 3 zeros
//   x.at({1, 2}) = 5;            // checked index
//   Tensor y = x;                // deep copy; moves are cheap, so functions that keep a tensor take it by
//   value
//
// `Tensor` holds `real`, which is float. The same sources are compiled a second time with QHV_DOUBLE, where
// real is double, so that mathematics can be checked to 1e-9; objects of the two kinds do not link together.
//
// Errors: std::invalid_argument for negative or overflowing shapes and for indices out of range.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tensor/check.h"

namespace qhv {

#ifdef QHV_DOUBLE
using real = double;
inline namespace f64 {
extern const char precision_tag;
}
#else
using real = float;
inline namespace f32 {
extern const char precision_tag;
}
#endif
/// Every object file refers to the tag of its own precision, which only the matching library defines.
[[gnu::used]] static const void* const kPrecisionLinkCheck = &precision_tag;

/// Extents of a tensor, outermost first. A shape without extents is a scalar (one element).
struct Shape : std::vector<std::int64_t> {
  using std::vector<std::int64_t>::vector;
};

/// "[1, 3, 256, 256]"
std::ostream& operator<<(std::ostream& out, const Shape& shape);

/// Product of the extents. Throws on a negative extent or a product beyond 2^62.
std::int64_t element_count(const Shape& shape);

/// Product of the extents behind `axis`: the elements that lie together for each index of it. Of all extents
/// for axis -1.
std::int64_t inner_count(const Shape& shape, int axis);

template <typename T>
class TensorOf {
 public:
  TensorOf() : shape_{0} {}
  explicit TensorOf(Shape shape, T fill = T{}) : TensorOf(uninitialized(std::move(shape))) {
    std::fill_n(data(), size_, fill);
  }
  TensorOf(Shape shape, const std::vector<T>& values) : TensorOf(uninitialized(std::move(shape))) {
    require(std::int64_t(values.size()) == size_, "tensor", values.size(), " values for shape ", shape_);
    std::copy(values.begin(), values.end(), data());
  }

  /// For results whose every element is about to be written.
  static TensorOf uninitialized(Shape shape) {
    TensorOf t;
    t.size_ = element_count(shape);
    t.shape_ = std::move(shape);
    t.data_ = std::make_unique_for_overwrite<T[]>(std::size_t(t.size_));
    return t;
  }

  TensorOf(const TensorOf& other) : TensorOf(uninitialized(other.shape_)) {
    std::copy_n(other.data(), size_, data());
  }
  TensorOf(TensorOf&& other) noexcept
      : shape_(std::exchange(other.shape_, {0})),
        size_(std::exchange(other.size_, 0)),
        data_(std::move(other.data_)) {}
  TensorOf& operator=(TensorOf other) noexcept {
    std::swap(shape_, other.shape_);
    std::swap(size_, other.size_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~TensorOf() = default;

  const Shape& shape() const { return shape_; }
  std::int64_t size() const { return size_; }
  int rank() const { return int(shape_.size()); }

  /// Extent of an axis; -1 is the last one.
  std::int64_t dim(int axis) const {
    const int a = axis < 0 ? axis + rank() : axis;
    require(a >= 0 && a < rank(), "tensor", "axis ", axis, " of shape ", shape_);
    return shape_[std::size_t(a)];
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::span<T> values() { return {data(), std::size_t(size_)}; }
  std::span<const T> values() const { return {data(), std::size_t(size_)}; }

  T& operator[](std::int64_t flat) {
    assert(flat >= 0 && flat < size_);
    return data_[std::size_t(flat)];
  }
  const T& operator[](std::int64_t flat) const {
    assert(flat >= 0 && flat < size_);
    return data_[std::size_t(flat)];
  }
  T& at(std::initializer_list<std::int64_t> index) { return data_[std::size_t(offset(index))]; }
  const T& at(std::initializer_list<std::int64_t> index) const { return data_[std::size_t(offset(index))]; }

  /// The same elements under another shape of equal size.
  TensorOf reshaped(Shape shape) && {
    require(element_count(shape) == size_, "reshape", shape_, " to ", shape);
    shape_ = std::move(shape);
    return std::move(*this);
  }
  TensorOf reshaped(Shape shape) const& { return TensorOf(*this).reshaped(std::move(shape)); }

 private:
  std::int64_t offset(std::initializer_list<std::int64_t> index) const {
    require(index.size() == shape_.size(), "tensor", index.size(), " indices for shape ", shape_);
    std::int64_t flat = 0;
    auto extent = shape_.begin();
    for (const std::int64_t i : index) {
      require(i >= 0 && i < *extent, "tensor", "index ", i, " out of range in shape ", shape_);
      flat = flat * *extent++ + i;
    }
    return flat;
  }

  Shape shape_;
  std::int64_t size_ = 0;
  std::unique_ptr<T[]> data_;
};

using Tensor = TensorOf<real>;
using TensorI8 = TensorOf<std::int8_t>;
using TensorU8 = TensorOf<std::uint8_t>;
using TensorI32 = TensorOf<std::int32_t>;

}  // namespace qhv
