#include "models/generated.h"

#include <cmath>

#include "tensor/rng.h"

namespace qhv {

void generate_weights(Graph& graph) {
  for (Param& p : graph.params) {
    const std::uint64_t seed = seed_of(p.name);
    const std::int64_t fan_in = p.value.rank() >= 2 ? p.value.size() / p.value.dim(0) : 0;
    const bool positive = p.name.ends_with("running_var") || (p.name.ends_with(".weight") && fan_in == 0);
    const double bound = fan_in ? std::sqrt(3.0 / double(fan_in)) * std::sqrt(2.0) : 0.1;
    for (std::int64_t i = 0; i < p.value.size(); ++i) {
      const double u = unit_uniform(seed, std::uint64_t(i));
      p.value[i] = real(float(positive ? 0.5 + u : (2 * u - 1) * bound));
    }
  }
}

Tensor generate_input(std::int64_t batch, std::int64_t channels, std::int64_t height, std::int64_t width) {
  const std::uint64_t seed = seed_of(concat("input_", batch, 'x', channels, 'x', height, 'x', width));
  Tensor x = Tensor::uninitialized({batch, channels, height, width});
  for (std::int64_t i = 0; i < x.size(); ++i) x[i] = real(float(unit_uniform(seed, std::uint64_t(i))));
  return x;
}

}  // namespace qhv
