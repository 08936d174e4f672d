// Rewrites of a graph that keep what it computes.
#pragma once

#include "nn/graph.h"

namespace qhv {

/// Folds each BatchNorm that follows a convolution, and is its only reader, into the convolution's weight and
/// bias:
///   w' = w * f,  b' = bias + (b - mean) * f,  f = weight / sqrt(var + eps)       (per output channel)
/// The convolution keeps its name and gains a bias; other BatchNorms stay. Blocks shrink accordingly.
/// Weights are moved, not copied: give the graph away where it is not needed any more. Of a bare graph none
/// are read, and all stay empty.
Graph fold_batch_norm(Graph graph);

}  // namespace qhv
