#include "autograd/tape.h"

#include "tensor/ops.h"

namespace qhv {

const Tensor& Var::value() const { return tape->value(id); }
const Shape& Var::shape() const { return tape->value(id).shape(); }

Var Tape::push_leaf(Tensor own, const Tensor* borrowed, bool wanted) {
  Node leaf;
  leaf.shape = borrowed ? borrowed->shape() : own.shape();
  leaf.own = std::move(own);
  leaf.borrowed = borrowed;
  leaf.wants = leaf.kept = wanted;
  nodes_.push_back(std::move(leaf));
  return {this, size() - 1};
}

Var Tape::record(TapeOp op, Tensor value, std::vector<int> inputs, Backward backward) {
  Node next;
  next.op = op;
  next.shape = value.shape();
  next.own = std::move(value);
  for (const int input : inputs) {
    assert(input >= 0 && input < size());
    next.wants = next.wants || wants(input);
  }
  if (next.wants) next.backward = std::move(backward);
  next.inputs = std::move(inputs);
  nodes_.push_back(std::move(next));
  return {this, size() - 1};
}

const Tensor& Tape::value(int id) const {
  const Node& n = node(id);
  const Tensor& value = n.borrowed ? *n.borrowed : n.own;
  require(value.shape() == n.shape, "tape", "the value of node ", id, " of shape ", n.shape,
          " was freed by backward");
  return value;
}

Tensor& Tape::gradient(int id) {
  Node& n = node(id);
  if (!n.has_grad) n.grad = Tensor(n.shape);
  n.has_grad = true;
  return n.grad;
}

void Tape::add_gradient(int id, Tensor dy) {
  Node& n = node(id);
  require(dy.shape() == n.shape, "tape", "gradient of shape ", dy.shape(), " for a value of shape ", n.shape);
  if (n.has_grad)
    accumulate(n.grad, dy);
  else
    n.grad = std::move(dy);
  n.has_grad = true;
}

void Tape::seed(Var v, Tensor dy) {
  assert(v.tape == this);
  add_gradient(v.id, std::move(dy));
}

void Tape::keep(Var v) {
  assert(v.tape == this);
  node(v.id).kept = true;
}

void Tape::carry_back(bool reusable) {
  for (int id = size() - 1; id >= 0; --id) {
    Node& n = node(id);
    if (n.backward && n.has_grad) n.backward(*this, n.kept ? n.grad : std::move(n.grad));
    if (!reusable) n.backward = nullptr;
    if (n.kept) continue;
    n.grad = Tensor();
    n.has_grad = false;
    if (!reusable) n.own = Tensor();
  }
}

Tensor Tape::take_gradient(Var v) {
  assert(v.tape == this);
  Node& n = node(v.id);
  require(n.kept && n.wants, "tape", "the gradient of node ", v.id, " of shape ", n.shape,
          " was not asked for");
  Tensor dy = std::move(gradient(v.id));
  n.has_grad = false;
  return dy;
}

std::int64_t Tape::bytes() const {
  std::int64_t elements = 0;
  for (const Node& n : nodes_) elements += n.own.size() + n.grad.size();
  return elements * std::int64_t(sizeof(real));
}

}  // namespace qhv
