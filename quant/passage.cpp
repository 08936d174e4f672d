#include "quant/passage.h"

#include <algorithm>

#include "nn/run_tape.h"
#include "tensor/parallel.h"

namespace qhv {

std::vector<Tensor> run_unit(const Graph& graph, const Unit& unit, std::span<const Tensor* const> externals,
                             std::span<const int> wanted, const RunHooks& hooks) {
  require(externals.size() == unit.externals.size(), "run unit", externals.size(), " values for ",
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

std::vector<const Tensor*> Passage::values(const std::vector<int>& nodes, std::size_t image) const {
  std::vector<const Tensor*> result;
  for (const int node : nodes) result.push_back(&value(node, image));
  return result;
}

void Passage::pass(const Graph& graph, const Unit& unit, const std::vector<int>& outputs,
                   const RunHooks& hooks) {
  for (const int node : outputs) values_[node].resize(images_.size());
  parallel_for(std::ssize(images_), threads_, [&](std::int64_t i) {
    std::vector<Tensor> y = run_unit(graph, unit, values(unit.externals, std::size_t(i)), outputs, hooks);
    for (std::size_t o = 0; o < y.size(); ++o) values_.at(outputs[o])[std::size_t(i)] = std::move(y[o]);
  });
}

void Passage::shift(int node, int axis, std::span<const double> shift) {
  for (Tensor& y : values_.at(node)) {
    const std::int64_t inner = inner_count(y.shape(), axis);
    for (std::int64_t k = 0; k < y.size(); ++k)
      y[k] = real(double(y[k]) + shift[std::size_t(k / inner) % shift.size()]);
  }
}

void Passage::forget(const std::vector<int>& last_use, int begin) {
  std::erase_if(values_, [&](const auto& entry) { return last_use[std::size_t(entry.first)] < begin; });
}

}  // namespace qhv
