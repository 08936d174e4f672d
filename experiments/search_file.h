// What a search has found so far, in a file beside its result, so that an interrupted `quantize` goes on
// where it stopped and ends with the same bits:
//
//   OUT.search   JSON {search: what is searched, plan: the layers that are done}
//
// It is replaced after every unit and removed when the result is written. A file of another search (method,
// bits, images, weights, options) is an error that says so; nothing is overwritten.
#pragma once

#include <optional>
#include <string>

#include "models/model.h"
#include "quant/calibrate.h"

namespace qhv {

class SearchFile {
 public:
  /// Of the search whose result goes to `out`. Reads the file if there is one; throws std::runtime_error if
  /// it is not of this search.
  SearchFile(const std::string& out, const std::string& method, const Model& model,
             const Calibration& calibration);

  /// The layers found by an earlier run, or null.
  const QuantPlan* found() const { return found_ ? &*found_ : nullptr; }

  /// Replaces the file.
  void save(const QuantPlan& so_far) const;

  void remove() const;

 private:
  std::string path_, search_;
  std::optional<QuantPlan> found_;
};

}  // namespace qhv
