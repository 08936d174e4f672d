// Networks of integers in tests: plans for them, and what such a network owes to its simulation.
#pragma once

#include <map>
#include <string>

#include "quant/plan.h"

namespace qhv::test {

/// Random pixels of the size that a network reads.
Tensor image_for(const Graph& graph, std::uint64_t seed, std::int64_t batch = 1);

/// By a method, with two such images.
QuantizedGraph quantized(const Graph& graph, const char* method = "minmax", int wbits = 8, int abits = 8,
                         bool full = true);

/// Requantises the weights of `graph`, by output channel, to ranges that are far from symmetric.
void give_weights_zero_points(QuantizedGraph& q, const Graph& graph);

/// How far the codes that integers make are from those of the simulation, where both read the same.
struct Agreement {
  std::int64_t elements = 0, off_by_one = 0, further = 0;
};

/// Every stored input of a node: what the simulation makes of the integer network's own inputs of the layer
/// before, rounded, against what the integer network stored. By layer that made it.
std::map<std::string, Agreement> layer_by_layer(const QuantizedGraph& q, const Tensor& image);

/// The logits of two images, by every table of kernels, with 1 and 2 threads, alone and together.
void check_same_bits(const QuantizedGraph& q);

}  // namespace qhv::test
