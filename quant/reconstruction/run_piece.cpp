#include "quant/reconstruction/run_piece.h"

#include <algorithm>
#include <map>

#include "nn/run_tape.h"

namespace qhv {

std::vector<Tensor> run_piece(const Graph& graph, const Unit& unit, std::span<const Tensor* const> externals,
                              std::span<const int> wanted, const RunHooks& hooks) {
  require(externals.size() == unit.externals.size(), "run piece", externals.size(), " values for ",
          unit.externals.size(), " that are read");
  Tape tape;
  std::map<int, Var> given;
  for (std::size_t e = 0; e < externals.size(); ++e)
    given.emplace(unit.externals[e], tape.borrow(*externals[e], false));
  RecordOptions options{.range = {unit.range.begin, *std::ranges::max_element(wanted) + 1}};
  if (hooks.on_edge)
    options.on_edge = [&](Edge edge, Var x) -> std::optional<Var> {
      auto replaced = hooks.on_edge(edge, x.value());
      return replaced ? std::optional(tape.constant(std::move(*replaced))) : std::nullopt;
    };
  const Recorded recorded = record(tape, graph, given, options);
  std::vector<Tensor> values;
  for (const int node : wanted) values.push_back(recorded.node(node).value());
  return values;
}

}  // namespace qhv
