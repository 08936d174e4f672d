// A network that is ready to run, from either kind of file:
//
//   a float checkpoint   safetensors or a PyTorch zip, of either name family (checkpoint.h); one that
//                        save_checkpoint made has, under the metadata key "qhyvit", a JSON object
//                        {version, arch, classes, res, preprocess, labels}
//   a quantised model    a safetensors file made by save_quantized: weights as integer codes (I8; where the
//                        plan's codes need it, U8 or I16), everything else as F32, and the same object with
//                        the plan in it, but for the scales of weights, which are tensors (plan_tensors.h)
//
// The two are told apart by the plan. In memory BatchNorm is folded, and a quantised model's weights are the
// values of their codes; of one with a full plan that is loaded to run in integers they stay codes, and its
// graph is bare.
// Errors are std::runtime_error that begin with the path.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/arch.h"
#include "nn/run.h"
#include "quant/plan.h"
#include "tensor/tensor_file.h"

namespace qhv {

struct Model {
  Arch arch;
  int classes = 0;
  int res = 256;
  std::int64_t parameters = 0;  // as parameter_count of the network before folding
  Graph graph;
  std::optional<QuantPlan> plan;  // of a quantised model
  std::string preprocess;  // how its images were prepared: a JSON object that the caller defines, or empty
  std::vector<std::string> labels;  // names of the classes, or empty

  bool in_integers = false;  // whether a quantised model is run as it is, or simulated in floating point
  bool allow_float_islands = false;  // whether that may leave to floating point what a partial plan does
  std::string path = {};             // of the file that it comes from, or empty

  /// Whether it runs in integers only as far as its plan goes.
  bool has_float_islands() const { return in_integers && allow_float_islands && !plan->full; }
  /// "float32", "fake-quant" or "int8": what running the model means.
  const char* engine() const { return !plan ? "float32" : in_integers ? "int8" : "fake-quant"; }
};

/// `res`: input size; without it the one that the file remembers, or 256. `in_integers`: a model with
/// a full plan is loaded for the integer engine alone, which takes less time and memory.
Model load_model(const std::string& path, std::optional<int> res = std::nullopt, bool in_integers = false);

/// The same for a file that is in memory; `path` opens the error messages.
Model parse_model(TensorFile file, const std::string& path, std::optional<int> res = std::nullopt,
                  bool in_integers = false);

/// The weights of a quantised model into its graph, BatchNorm folded, once the plan is found to fit it: as
/// codes if the graph is bare.
void read_quantized_weights(TensorFile file, const std::string& path, const QuantPlan& plan, Graph& graph);

/// The architecture with weights that models/generated.h makes from names: for benchmarks, not for
/// classifying.
Model generated_model(const Arch& arch, int classes = 1000, int res = 256);

/// Writes a float checkpoint: the parameters of `unfolded`, the network with its BatchNorms, under timm's
/// names, as F16 where they have two axes or more and F32 otherwise; everything else from `model`.
void save_checkpoint(const std::string& path, const Model& model, const Graph& unfolded);

/// A model with a plan as a file, and written: the file is complete or it is not there.
TensorFile quantized_file(const Model& model);
void save_quantized(const std::string& path, const Model& model);

/// How to run the model: no hooks in float, those of its plan otherwise.
RunHooks model_hooks(const Model& model);

}  // namespace qhv
