#include "autograd/ops.h"

namespace qhv {
namespace {

/// Passes dy on where it is wanted; `adjoint` is only evaluated then.
template <typename Adjoint>
void give(Tape& tape, int id, Adjoint adjoint) {
  if (tape.wants(id)) tape.add_gradient(id, adjoint());
}

/// An operator of one input whose adjoint needs dy and nothing but dy.
template <typename Adjoint>
Var record_linear(TapeOp op, Var x, Tensor value, Adjoint adjoint) {
  return x.tape->record(op, std::move(value), {x.id}, [x = x.id, adjoint](Tape& t, Tensor dy) {
    t.add_gradient(x, adjoint(std::move(dy)));
  });
}

void give(Tape& tape, int x, int weight, int bias, NormGradients gradients) {
  give(tape, x, [&] { return std::move(gradients.dx); });
  give(tape, weight, [&] { return std::move(gradients.dweight); });
  give(tape, bias, [&] { return std::move(gradients.dbias); });
}

}  // namespace

Var conv2d(Var x, Var w, std::optional<Var> b, const ConvGeometry& g) {
  std::vector<int> inputs{x.id, w.id};
  if (b) inputs.push_back(b->id);
  return x.tape->record(TapeOp::kConv2d, conv2d(x.value(), w.value(), b ? &b->value() : nullptr, g), inputs,
                        [inputs, g](Tape& t, Tensor dy) {
                          const int x = inputs[0], w = inputs[1];
                          if (inputs.size() > 2) give(t, inputs[2], [&] { return conv2d_backward_bias(dy); });
                          give(t, w, [&] { return conv2d_backward_weight(dy, t.value(x), g); });
                          give(t, x,
                               [&] { return conv2d_backward_input(dy, t.value(w), t.value(x).shape(), g); });
                        });
}

Var linear(Var x, Var w, std::optional<Var> b) {
  std::vector<int> inputs{x.id, w.id};
  if (b) inputs.push_back(b->id);
  return x.tape->record(TapeOp::kLinear, linear(x.value(), w.value(), b ? &b->value() : nullptr), inputs,
                        [inputs](Tape& t, Tensor dy) {
                          const int x = inputs[0], w = inputs[1];
                          if (inputs.size() > 2) give(t, inputs[2], [&] { return linear_backward_bias(dy); });
                          give(t, w, [&] { return linear_backward_weight(dy, t.value(x)); });
                          give(t, x, [&] { return linear_backward_input(dy, t.value(w)); });
                        });
}

Var matmul(Var a, Var b, bool transpose_b, double scale) {
  return a.tape->record(TapeOp::kMatMul, matmul(a.value(), b.value(), transpose_b, scale), {a.id, b.id},
                        [a = a.id, b = b.id, transpose_b, scale](Tape& t, Tensor dy) {
                          give(t, a, [&] { return matmul_backward_a(dy, t.value(b), transpose_b, scale); });
                          give(t, b, [&] { return matmul_backward_b(dy, t.value(a), transpose_b, scale); });
                        });
}

Var attention(Var q, Var k, Var v, double scale) {
  AttentionResult value = attention(q.value(), k.value(), v.value(), scale);
  const Var p = q.tape->constant(std::move(value.probabilities));
  return q.tape->record(TapeOp::kAttention, std::move(value.y), {q.id, k.id, v.id, p.id},
                        [q = q.id, k = k.id, v = v.id, p = p.id, scale](Tape& t, Tensor dy) {
                          AttentionGradients g =
                              attention_backward(dy, t.value(q), t.value(k), t.value(v), t.value(p), scale);
                          give(t, q, [&] { return std::move(g.dq); });
                          give(t, k, [&] { return std::move(g.dk); });
                          give(t, v, [&] { return std::move(g.dv); });
                        });
}

Var batch_norm(Var x, Var weight, Var bias, Var mean, Var var, double eps) {
  Tape& tape = *x.tape;
  require(!tape.wants(mean.id) && !tape.wants(var.id), "batch_norm",
          "running statistics have no gradient in inference mode");
  return tape.record(
      TapeOp::kBatchNorm, batch_norm(x.value(), weight.value(), bias.value(), mean.value(), var.value(), eps),
      {x.id, weight.id, bias.id, mean.id, var.id},
      [x = x.id, weight = weight.id, bias = bias.id, mean = mean.id, var = var.id, eps](Tape& t, Tensor dy) {
        give(t, x, weight, bias,
             batch_norm_backward(dy, t.value(x), t.value(weight), t.value(mean), t.value(var), eps));
      });
}

BatchNormTrain batch_norm_train(Var x, Var weight, Var bias, double eps) {
  BatchStatistics stats = batch_statistics(x.value());
  const Var y = x.tape->record(
      TapeOp::kBatchNormTrain,
      batch_norm(x.value(), weight.value(), bias.value(), stats.mean, stats.var, eps),
      {x.id, weight.id, bias.id},
      [x = x.id, weight = weight.id, bias = bias.id, stats, eps](Tape& t, Tensor dy) {
        give(t, x, weight, bias, batch_norm_train_backward(dy, t.value(x), t.value(weight), stats, eps));
      });
  return {y, std::move(stats)};
}

Var layer_norm(Var x, Var weight, Var bias, double eps) {
  return x.tape->record(TapeOp::kLayerNorm, layer_norm(x.value(), weight.value(), bias.value(), eps),
                        {x.id, weight.id, bias.id},
                        [x = x.id, weight = weight.id, bias = bias.id, eps](Tape& t, Tensor dy) {
                          give(t, x, weight, bias, layer_norm_backward(dy, t.value(x), t.value(weight), eps));
                        });
}

Var group_norm(Var x, Var weight, Var bias, double eps) {
  return x.tape->record(TapeOp::kGroupNorm, group_norm(x.value(), weight.value(), bias.value(), eps),
                        {x.id, weight.id, bias.id},
                        [x = x.id, weight = weight.id, bias = bias.id, eps](Tape& t, Tensor dy) {
                          give(t, x, weight, bias, group_norm_backward(dy, t.value(x), t.value(weight), eps));
                        });
}

Var softmax(Var x) {
  const int y = x.tape->size();  // the node about to be recorded
  return x.tape->record(TapeOp::kSoftmax, softmax(x.value()), {x.id}, [x = x.id, y](Tape& t, Tensor dy) {
    t.add_gradient(x, softmax_backward(dy, t.value(y)));
  });
}

Var silu(Var x) {
  return x.tape->record(TapeOp::kSilu, silu(x.value()), {x.id}, [x = x.id](Tape& t, Tensor dy) {
    t.add_gradient(x, silu_backward(std::move(dy), t.value(x)));
  });
}

Var relu(Var x) {
  return x.tape->record(TapeOp::kRelu, relu(x.value()), {x.id}, [x = x.id](Tape& t, Tensor dy) {
    t.add_gradient(x, relu_backward(std::move(dy), t.value(x)));
  });
}

Var add(Var a, Var b) {
  return a.tape->record(TapeOp::kAdd, add(a.value(), b.value()), {a.id, b.id},
                        [a = a.id, b = b.id](Tape& t, Tensor dy) {
                          give(t, a, [&] { return dy; });
                          give(t, b, [&] { return std::move(dy); });
                        });
}

Var mul(Var a, Var b) {
  return a.tape->record(TapeOp::kMul, mul(a.value(), b.value()), {a.id, b.id},
                        [a = a.id, b = b.id](Tape& t, Tensor dy) {
                          give(t, a, [&] { return mul_backward(dy, t.value(b), t.value(a).shape()); });
                          give(t, b, [&] { return mul_backward(dy, t.value(a), t.value(b).shape()); });
                        });
}

Var sum_last(Var x) {
  return record_linear(TapeOp::kSumLast, x, sum_last(x.value()),
                       [shape = x.shape()](Tensor dy) { return sum_last_backward(dy, shape); });
}

Var global_avg_pool(Var x) {
  return record_linear(TapeOp::kGlobalAvgPool, x, global_avg_pool(x.value()),
                       [shape = x.shape()](Tensor dy) { return global_avg_pool_backward(dy, shape); });
}

Var concat_axis(const std::vector<Var>& parts, int axis) {
  require(!parts.empty(), "concat", "nothing to join");
  std::vector<const Tensor*> values;
  std::vector<int> inputs;
  for (const Var& part : parts) {
    values.push_back(&part.value());
    inputs.push_back(part.id);
  }
  return parts[0].tape->record(TapeOp::kConcat, concat_axis(values, axis), inputs,
                               [inputs, axis](Tape& t, Tensor dy) {
                                 std::int64_t begin = 0;
                                 for (const int part : inputs) {
                                   const std::int64_t end = begin + t.value(part).dim(axis);
                                   give(t, part, [&] { return slice(dy, axis, begin, end); });
                                   begin = end;
                                 }
                               });
}

Var slice(Var x, int axis, std::int64_t begin, std::int64_t end) {
  return x.tape->record(
      TapeOp::kSlice, slice(x.value(), axis, begin, end), {x.id},
      [x = x.id, axis, begin](Tape& t, Tensor dy) { slice_accumulate(t.gradient(x), dy, axis, begin); });
}

Var split_heads(Var x, int heads) {
  return record_linear(TapeOp::kSplitHeads, x, split_heads(x.value(), heads),
                       [](Tensor dy) { return merge_heads(dy); });
}

Var merge_heads(Var x) {
  return record_linear(TapeOp::kMergeHeads, x, merge_heads(x.value()),
                       [heads = int(x.value().dim(1))](Tensor dy) { return split_heads(dy, heads); });
}

Var unfold_patches(Var x, int patch, PatchLayout layout) {
  return record_linear(TapeOp::kUnfoldPatches, x, unfold_patches(x.value(), patch, layout),
                       [patch, layout, height = x.value().dim(2), width = x.value().dim(3)](Tensor dy) {
                         return fold_patches(dy, patch, layout, height, width);
                       });
}

Var fold_patches(Var x, int patch, PatchLayout layout, std::int64_t height, std::int64_t width) {
  return record_linear(TapeOp::kFoldPatches, x, fold_patches(x.value(), patch, layout, height, width),
                       [patch, layout](Tensor dy) { return unfold_patches(dy, patch, layout); });
}

Var resize_bilinear(Var x, std::int64_t height, std::int64_t width, bool align_corners) {
  return record_linear(TapeOp::kResizeBilinear, x, resize_bilinear(x.value(), height, width, align_corners),
                       [height = x.value().dim(2), width = x.value().dim(3), align_corners](Tensor dy) {
                         return resize_bilinear_backward(dy, height, width, align_corners);
                       });
}

Var round_straight_through(Var x) {
  return record_linear(TapeOp::kRoundStraightThrough, x, round_half_even(x.value()),
                       [](Tensor dy) { return dy; });
}

Var rectified_sigmoid(Var v) {
  return v.tape->record(TapeOp::kRectifiedSigmoid, rectified_sigmoid(v.value()), {v.id},
                        [v = v.id](Tape& t, Tensor dy) {
                          t.add_gradient(v, rectified_sigmoid_backward(std::move(dy), t.value(v)));
                        });
}

Var cross_entropy(Var logits, const std::vector<int>& labels, double smoothing) {
  return logits.tape->record(TapeOp::kCrossEntropy, cross_entropy(logits.value(), labels, smoothing),
                             {logits.id}, [x = logits.id, labels, smoothing](Tape& t, Tensor dy) {
                               t.add_gradient(x, cross_entropy_backward(dy, t.value(x), labels, smoothing));
                             });
}

}  // namespace qhv
