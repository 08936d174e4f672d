// Gradients by recording. A Tape is one evaluation: every operator of autograd/ops.h appends a node with its
// value and the rule that carries a gradient of this value to its inputs. Node i reads only nodes before i,
// so backward() is one loop from the last node to the first; the gradients of a value with several readers
// add up.
//
//   Tape tape;
//   const Var w = tape.leaf(weight), y = linear(tape.constant(x), w, {});
//   const Var loss = cross_entropy(y, labels, 0);
//   tape.seed(loss, Tensor({}, 1));
//   tape.backward();
//   const Tensor dw = tape.take_gradient(w);
//
// Only what lies between a leaf and a seeded value costs anything; a value from constants alone has no rule.
// backward() frees each value and gradient as soon as nothing needs it any more, except leaves' gradients and
// what keep() marked; backward_again_later() leaves values and rules in place, so that other gradients can be
// seeded and carried through the same evaluation. A tape belongs to one thread.
//
// Errors: std::invalid_argument for gradients of another shape and for gradients that were not asked for.
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "tensor/tensor.h"

namespace qhv {

class Tape;

/// A node of a tape: a handle, valid as long as the tape.
struct Var {
  Tape* tape = nullptr;
  int id = -1;

  /// Of a node whose value has not been freed by backward().
  const Tensor& value() const;
  const Shape& shape() const;
};

/// Everything that can stand on a tape. tests/test_gradients.cpp checks each one against finite differences;
/// its switch over this list does not compile with one missing.
enum class TapeOp {
  kLeaf,
  kConv2d,
  kLinear,
  kMatMul,
  kAttention,
  kBatchNorm,
  kBatchNormTrain,
  kLayerNorm,
  kGroupNorm,
  kSoftmax,
  kSilu,
  kRelu,
  kAdd,
  kMul,
  kSumLast,
  kGlobalAvgPool,
  kConcat,
  kSlice,
  kSplitHeads,
  kMergeHeads,
  kUnfoldPatches,
  kFoldPatches,
  kResizeBilinear,
  kRoundStraightThrough,
  kRectifiedSigmoid,
  kFakeQuantize,  // quant/reconstruction/quantize_on_tape.h
  kCrossEntropy,
  kCount
};

/// Carries dy, the gradient of a node's value, to the node's inputs: Tape::add_gradient for each that wants
/// one. Captures ids and plain data only.
using Backward = std::function<void(Tape&, Tensor dy)>;

class Tape {
 public:
  Tape() = default;
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// A value from outside, whose gradient is wanted or not.
  Var leaf(Tensor value) { return push_leaf(std::move(value), nullptr, true); }
  Var constant(Tensor value) { return push_leaf(std::move(value), nullptr, false); }
  /// The same without a copy: `value` must outlive the tape.
  Var borrow(const Tensor& value, bool wanted) { return push_leaf(Tensor(), &value, wanted); }

  /// Appends an operator's result. `backward` is dropped if no input wants a gradient.
  Var record(TapeOp op, Tensor value, std::vector<int> inputs, Backward backward);

  /// Adds `dy` to the gradient from which backward() starts. Several values may be seeded.
  void seed(Var v, Tensor dy);
  /// Value and gradient of `v` survive backward().
  void keep(Var v);
  void backward() { carry_back(false); }
  void backward_again_later() { carry_back(true); }
  /// The gradient of a leaf or a kept value after backward(): zeros if none has reached it.
  Tensor take_gradient(Var v);

  // For Backward rules.
  const Tensor& value(int id) const;
  bool wants(int id) const { return node(id).wants; }
  void add_gradient(int id, Tensor dy);
  /// The gradient so far, zeros at first: for rules that touch a part of it.
  Tensor& gradient(int id);

  int size() const { return int(nodes_.size()); }
  TapeOp op(Var v) const { return node(v.id).op; }
  /// Bytes of the values and gradients that are alive.
  std::int64_t bytes() const;

 private:
  struct Node {
    TapeOp op = TapeOp::kLeaf;
    Tensor own;                        // empty if borrowed
    const Tensor* borrowed = nullptr;  // or null
    Shape shape;                       // survives the value
    Tensor grad;
    bool has_grad = false, wants = false, kept = false;
    std::vector<int> inputs;
    Backward backward;
  };

  Var push_leaf(Tensor own, const Tensor* borrowed, bool wanted);
  void carry_back(bool reusable);
  Node& node(int id) { return nodes_[std::size_t(id)]; }
  const Node& node(int id) const { return nodes_[std::size_t(id)]; }

  std::deque<Node> nodes_;  // references stay valid while it grows
};

}  // namespace qhv
