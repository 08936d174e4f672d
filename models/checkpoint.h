// From a file of named tensors to a network. Two families of names are known, timm's and cvnets' (the
// authors' own code); cvnets' are translated, so that everything behind this file sees timm's. The
// architecture follows from the tensors.
//
// Errors are std::runtime_error that begin with the path and name the tensor, with both shapes where shapes
// disagree.
#pragma once

#include <map>
#include <string>

#include "models/arch.h"
#include "nn/graph.h"
#include "tensor/tensor_file.h"

namespace qhv {

/// timm's name for a tensor of either family; a name that is in neither is returned as it is.
std::string timm_name(const std::string& name);

/// The tensors under timm's names, without the counters that only training needs (num_batches_tracked).
std::map<std::string, RawTensor> timm_tensors(TensorFile file, const std::string& path);

/// The variant that most of the telling extents agree with.
const Arch& detect_arch(const std::map<std::string, RawTensor>& tensors, const std::string& path);

/// Rows of the classifier, which reads the features of this variant.
int detect_classes(const std::map<std::string, RawTensor>& tensors, const Arch& arch,
                   const std::string& path);

/// Throws unless the tensors are exactly the graph's parameters, by name and shape. The graph may be bare.
void check_tensors(const Graph& graph, const std::map<std::string, RawTensor>& tensors,
                   const std::string& path);

/// Throws if a value is NaN or infinite.
void check_finite(const Tensor& tensor, const std::string& where);

}  // namespace qhv
