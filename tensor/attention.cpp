#include "tensor/gemm.h"
#include "tensor/loops.h"
#include "tensor/ops.h"

namespace qhv {
namespace {

/// Tokens, of the keys and of the queries, and channels of `count` matrices.
struct Extents {
  std::int64_t count, queries, keys, width, value_width;
};

Extents extents(const char* op, const Tensor& q, const Tensor& k, const Tensor& v) {
  const auto mismatch = [&] { return concat("q ", q.shape(), ", k ", k.shape(), " and v ", v.shape()); };
  require(q.rank() >= 2 && k.rank() == q.rank() && v.rank() == q.rank(), op, mismatch());
  std::int64_t count = 1;
  for (int axis = 0; axis < q.rank() - 2; ++axis) {
    require(q.dim(axis) == k.dim(axis) && q.dim(axis) == v.dim(axis), op, mismatch());
    count *= q.dim(axis);
  }
  require(k.dim(-1) == q.dim(-1) && v.dim(-2) == k.dim(-2) && k.dim(-2) > 0, op, mismatch());
  return {count, q.dim(-2), k.dim(-2), q.dim(-1), v.dim(-1)};
}

Shape with_last(Shape shape, std::int64_t last) {
  shape.back() = last;
  return shape;
}

void scale_by(real* x, std::int64_t count, real factor) {
  for (std::int64_t i = 0; i < count; ++i) x[i] *= factor;
}

}  // namespace

AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, double scale) {
  const Extents e = extents("attention", q, k, v);
  AttentionResult result{Tensor::uninitialized(with_last(q.shape(), e.value_width)),
                         Tensor::uninitialized(with_last(q.shape(), e.keys))};
  Tensor scaled({e.queries, e.width}), scores({e.queries, e.keys});
  for (std::int64_t i = 0; i < e.count; ++i) {
    std::copy_n(q.data() + i * scaled.size(), scaled.size(), scaled.data());
    scale_by(scaled.data(), scaled.size(), real(scale));
    real* p = result.probabilities.data() + i * scores.size();
    gemm({.m = e.queries, .n = e.keys, .k = e.width, .transpose_b = true}, scaled.data(),
         k.data() + i * e.keys * e.width, scores.data());
    softmax_into(scores.data(), p, e.queries, e.keys);
    gemm({.m = e.queries, .n = e.value_width, .k = e.keys}, p, v.data() + i * e.keys * e.value_width,
         result.y.data() + i * e.queries * e.value_width);
  }
  return result;
}

AttentionGradients attention_backward(const Tensor& dy, const Tensor& q, const Tensor& k, const Tensor& v,
                                      const Tensor& probabilities, double scale) {
  const char* op = "attention_backward";
  const Extents e = extents(op, q, k, v);
  require(dy.shape() == with_last(q.shape(), e.value_width) &&
              probabilities.shape() == with_last(q.shape(), e.keys),
          op, "gradient ", dy.shape(), " and probabilities ", probabilities.shape(), " for q ", q.shape());
  AttentionGradients result{Tensor::uninitialized(q.shape()), Tensor::uninitialized(k.shape()),
                            Tensor::uninitialized(v.shape())};
  Tensor dscores({e.queries, e.keys});
  for (std::int64_t i = 0; i < e.count; ++i) {
    const real *of_y = dy.data() + i * e.queries * e.value_width,
               *of_v = v.data() + i * e.keys * e.value_width, *p = probabilities.data() + i * dscores.size();
    gemm({.m = e.queries, .n = e.keys, .k = e.value_width, .transpose_b = true}, of_y, of_v, dscores.data());
    softmax_backward_into(dscores.data(), p, dscores.data(), e.queries, e.keys);
    real* dq = result.dq.data() + i * e.queries * e.width;
    real* dk = result.dk.data() + i * e.keys * e.width;
    gemm({.m = e.queries, .n = e.width, .k = e.keys}, dscores.data(), k.data() + i * e.keys * e.width, dq);
    gemm({.m = e.keys, .n = e.width, .k = e.queries, .transpose_a = true}, dscores.data(),
         q.data() + i * e.queries * e.width, dk);
    gemm({.m = e.keys, .n = e.value_width, .k = e.queries, .transpose_a = true}, p, of_y,
         result.dv.data() + i * e.keys * e.value_width);
    scale_by(dq, e.queries * e.width, real(scale));
    scale_by(dk, e.keys * e.width, real(scale));
  }
  return result;
}

}  // namespace qhv
