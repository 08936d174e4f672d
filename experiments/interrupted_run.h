// How far a `quantize` has come, in files beside its result, so that one that was interrupted goes on where
// it stopped and ends with the same bits:
//
//   OUT.search        JSON {search: what is done, plan: the layers whose quantisers are found}; replaced
//   after
//                     every unit of a search, and at the end of other methods if reconstruction follows
//   OUT.reconstruct   the quantised model with the pieces that are reconstructed in its plan; replaced after
//                     every piece
//
// Both are removed when the result is written. A search file of another run (method, bits, images, weights,
// options) is an error that says so, and nothing is overwritten; OUT.reconstruct counts only beside its
// search file and is removed without one.
#pragma once

#include <optional>
#include <string>

#include "models/model.h"
#include "quant/calibrate.h"

namespace qhv {

class InterruptedRun {
 public:
  /// Of the run whose result goes to `out`; `reconstruction` describes what follows the method, or is empty.
  /// Reads the files if there are any; throws std::runtime_error if they are not of this run.
  InterruptedRun(const std::string& out, const std::string& method, const Model& model,
                 const Calibration& calibration, const std::string& reconstruction);

  /// The layers found by an earlier run, or null.
  const QuantPlan* found() const { return found_ ? &*found_ : nullptr; }
  /// The model as far as it was reconstructed, or nothing.
  const std::optional<Model>& reconstructed() const { return reconstructed_; }

  /// Replace the files.
  void save(const QuantPlan& so_far) const;
  void save(const Model& so_far) const;

  void remove() const;

 private:
  std::string search_path_, reconstruct_path_, description_;
  std::optional<QuantPlan> found_;
  std::optional<Model> reconstructed_;
};

}  // namespace qhv
