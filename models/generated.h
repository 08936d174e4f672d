// Weights and inputs that any program can regenerate from names alone, without a file: they make
// architectures runnable, comparable with other implementations and fast to benchmark. They classify nothing.
//
// uniform(name, i) = unit_uniform(seed_of(name), i) of tensor/rng.h. A parameter `name` of shape d0 x d1 x
// ...:
//   two axes or more          (2u - 1) * sqrt(3 / (d1 * d2 * ...)) * sqrt(2)
//   running_mean              (2u - 1) * 0.1
//   running_var               0.5 + u
//   other "weight" of 1 axis  0.5 + u
//   other of 1 axis           (2u - 1) * 0.1
// computed in double and rounded to float, whatever `real` is.
#pragma once

#include "nn/graph.h"

namespace qhv {

/// Fills every parameter of a graph by the rule above.
void generate_weights(Graph& graph);

/// uniform("input_{B}x{C}x{H}x{W}", i), rounded to float.
Tensor generate_input(std::int64_t batch, std::int64_t channels, std::int64_t height, std::int64_t width);

}  // namespace qhv
