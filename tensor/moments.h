// What the normalisations and their adjoints share; internal to norm.cpp and norm_backward.cpp.
#pragma once

#include "tensor/ops.h"

namespace qhv {

struct Moments {
  double mean, inv_std;
};

/// inv_std is 1 / sqrt(population variance + eps).
Moments moments(const real* x, std::int64_t count, double eps);

/// x [B, C, ...] as B * C planes of `area` elements.
struct Planes {
  std::int64_t batch, channels, area;
};
Planes planes(const char* op, const Shape& x);

/// Throws unless the shape of `parameter` is [channels].
void require_channels(const char* op, const Tensor& parameter, std::int64_t channels, const Tensor& x);

}  // namespace qhv
