// Min-max: every range is the one that was seen (Krishnamoorthi, arXiv 1806.08342, section 3).
#include "quant/methods/methods.h"

namespace qhv {

QuantizedGraph quantize_minmax(const Graph& graph, const Calibration& calibration) {
  return quantize_with_ranges(graph, calibration, "minmax",
                              observe_ranges(graph, quantizable_edges(graph), calibration));
}

}  // namespace qhv
