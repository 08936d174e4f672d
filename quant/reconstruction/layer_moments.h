// All that least squares needs to know of a layer with a weight: second moments of what it reads and of what
// it ought to put out, over all positions and images.
//
// With x a window of the input (of one group of a convolution; a token of a linear layer) and y_o the wanted
// output, the error of weights w_o is a polynomial in them,
//
//   sum (w_o x - y_o)^2 = w_o G w_o^T - 2 c_o w_o^T + sum y_o^2,   G = sum x x^T,  c_o = sum y_o x^T
//
// so that any number of weights can be judged without the data. A layer with a bias takes the means out:
// then moments are centred, and the bias is mean(y_o) - w_o mean(x).
#pragma once

#include <vector>

#include "nn/graph.h"

namespace qhv {

struct LayerMoments {
  std::int64_t groups = 1, outputs = 0, inputs = 0;  // inputs: of a window, C / groups * k * k
  std::int64_t count = 0;                            // windows
  std::vector<double> gram;                          // [groups, inputs, inputs]
  std::vector<double> cross;                         // [outputs, inputs]
  std::vector<double> squares;                       // [outputs], sum y^2
  std::vector<double> input_sums;                    // [groups, inputs]
  std::vector<double> output_sums;                   // [outputs]

  std::int64_t group_of(std::int64_t output) const { return output / (outputs / groups); }
  const double* gram_of(std::int64_t output) const {
    return gram.data() + group_of(output) * inputs * inputs;
  }
};

/// Of one image: x is what the convolution or linear layer reads, y what it ought to put out. Throws
/// std::invalid_argument for a node of another kind.
LayerMoments layer_moments(const Node& node, const Tensor& x, const Tensor& y);

/// The sum of both, term by term; an empty `total` becomes `part`.
void add(LayerMoments& total, const LayerMoments& part);

/// Second moments about the means. The sums stay.
LayerMoments centered(LayerMoments moments);

/// The moments as they are with lambda |w_o - towards_o|^2 added to the error.
LayerMoments regularized(LayerMoments moments, const Tensor& towards, double lambda);

/// The mean squared error of each output, by this weight.
std::vector<double> errors_of(const LayerMoments& moments, const Tensor& weight);

}  // namespace qhv
