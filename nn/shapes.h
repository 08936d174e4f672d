// Shapes and costs without computing: what each node puts out, which parameters it needs, how much work it
// is.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nn/graph.h"

namespace qhv {

/// Shape of an operator's output. `name` opens the error message when the inputs do not fit
/// (std::invalid_argument).
Shape infer_shape(const Op& op, std::span<const Shape> inputs, std::int64_t batch, const std::string& name);

/// Output shape of every node for a batch of this size.
std::vector<Shape> infer_shapes(const Graph& graph, std::int64_t batch = 1);

/// Throws unless x is [B, ...] with images of this shape and B from 1 to `most`; `op` opens the message.
void check_batch(const Tensor& x, const Shape& image, std::int64_t most, std::string_view op);

/// Name ("weight", ...) and shape of each parameter that an operator has, in the order of Node::params.
std::vector<std::pair<std::string, Shape>> parameter_shapes(const Op& op);

/// The shape that each of Graph::params has, or would have in a bare graph.
std::vector<Shape> parameter_shapes(const Graph& graph);

/// Multiply-accumulates of convolutions, linear layers and matrix products; 0 for everything else, as papers
/// count.
std::int64_t mac_count(const Op& op, std::span<const Shape> inputs, const Shape& output);

/// mac_count of every node at batch 1.
std::vector<std::int64_t> mac_counts(const Graph& graph);

}  // namespace qhv
