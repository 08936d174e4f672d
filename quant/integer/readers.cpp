#include "quant/integer/readers.h"

#include <algorithm>

namespace qhv {

Readers::Readers(const Graph& graph, const QuantPlan& plan, std::vector<Buffer>& buffers)
    : PlannedLayers(graph, plan),
      buffers_(buffers),
      readers_(graph.nodes.size()),
      group_of_(graph.nodes.size(), -1) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    for (std::size_t slot = 0; slot < graph.nodes[i].inputs.size(); ++slot)
      readers_[std::size_t(graph.nodes[i].inputs[slot])].push_back({int(i), int(slot)});
  find_attention();
}

int Readers::only_reader(int node) const {
  const auto& readers = readers_[std::size_t(node)];
  return readers.size() == 1 ? readers[0].node : -1;
}

const AttentionGroup* Readers::attention(int node) const {
  const auto group = groups_.find(node);
  return group == groups_.end() ? nullptr : &group->second;
}

void Readers::add_group(AttentionGroup group, int last) {
  for (const int inner : group.match.nodes) group_of_[std::size_t(inner)] = last;
  groups_.emplace(last, std::move(group));
}

// Patterns are found first: their inner nodes do not ask for forms of their own.
void Readers::find_attention() {
  for (int i = 0; i < int(graph_.nodes.size()); ++i) {
    const Node& node = graph_.nodes[std::size_t(i)];
    if (std::holds_alternative<MergeHeads>(node.op)) {
      const auto match = match_attention(graph_, i);
      if (!match) unsupported(i, "does not end softmax(q k^T) v");
      if (match->q != 0 || match->k != match->width || match->v != 2 * match->width)
        unsupported(i, "has q, k and v in another order");
      Encoding rows = byte_encoding({match->scores, 0}, match->width);
      rows.append(byte_encoding({match->scores, 1}, match->width));
      rows.append(byte_encoding({match->context, 1}, match->width));
      add_group({*match, std::move(rows)}, i);
    } else if (std::holds_alternative<Mul>(node.op)) {
      const auto match = match_separable_attention(graph_, i);
      if (!match) continue;  // the inner product
      if (match->q != 0 || match->k != 1 || match->v != 1 + match->width)
        unsupported(i, "has q, k and v in another order");
      Encoding rows = byte_encoding({match->softmax, 0}, 1);
      rows.append(byte_encoding({match->weighted, 0}, match->width));
      Encoding values = byte_encoding({i, 0}, match->width);
      values.lo = values.zero;  // ReLU
      rows.append(values);
      add_group({*match, std::move(rows)}, i);
    }
  }
}

void Readers::add_forms(std::vector<Form>& forms, int node, std::vector<Encoding> planes, Edge edge) {
  std::vector<Form> found;
  for (Encoding& encoding : planes) {
    auto form = std::ranges::find_if(
        forms, [&](const Form& f) { return f.stride == encoding.columns() && f.encoding == encoding; });
    if (form == forms.end()) {
      const std::int64_t columns = encoding.columns();
      buffers_.push_back({.size = rows(node) * columns * code_size(encoding.type)});
      forms.push_back({std::move(encoding), int(buffers_.size()) - 1, rows(node), 0, columns});
      form = std::prev(forms.end());
    }
    found.push_back(*form);
  }
  inputs_.emplace(std::pair(edge.node, edge.slot), std::move(found));
}

void Readers::follow(std::vector<Form>& result, int node, Edge reader) {
  const Op& op = graph_.nodes[std::size_t(reader.node)].op;
  if (const int last = group_of_[std::size_t(reader.node)]; last >= 0) {
    const AttentionGroup& group = groups_.at(last);
    if (group.match.source != node) unsupported(reader.node, "is read outside of its attention");
    return add_forms(result, node, {group.projection}, {last, 0});
  }
  const bool moves = std::holds_alternative<UnfoldPatches>(op) || std::holds_alternative<FoldPatches>(op);
  if (moves || std::holds_alternative<Relu>(op)) {
    for (Form form : forms(reader.node)) {
      if (!moves)
        for (std::size_t c = 0; c < form.encoding.lo.size(); ++c)
          form.encoding.lo[c] = std::max(form.encoding.lo[c], form.encoding.zero[c]);
      result.push_back(std::move(form));
    }
    return;
  }
  if (std::holds_alternative<Concat>(op)) {
    if (channel_axis(reader.node) != std::get<Concat>(op).axis)
      unsupported(reader.node, "joins another axis than channels");
    std::int64_t first = 0;
    const std::vector<int>& parts = graph_.nodes[std::size_t(reader.node)].inputs;
    for (int slot = 0; slot < reader.slot; ++slot) first += channels(parts[std::size_t(slot)]);
    for (const Form& whole : forms(reader.node))
      result.push_back({whole.encoding.slice(first, channels(node)), whole.buffer, whole.rows,
                        whole.column + first, whole.stride});
    return;
  }
  add_forms(result, node, encodings(reader, channels(node)), reader);
}

const std::vector<Form>& Readers::forms(int node) {
  if (const auto known = forms_.find(node); known != forms_.end()) return known->second;
  std::vector<Form> result;
  for (const Edge& reader : readers_[std::size_t(node)]) follow(result, node, reader);
  return forms_.emplace(node, std::move(result)).first->second;
}

const std::vector<Form>& Readers::planes(Edge edge) const {
  const auto forms = inputs_.find({edge.node, edge.slot});
  if (forms == inputs_.end())
    unsupported(edge.node, concat("reads input ", edge.slot, " before it is computed"));
  return forms->second;
}

std::vector<StoredInput> Readers::inputs() const {
  std::vector<StoredInput> result;
  for (const auto& [edge, forms] : inputs_)
    for (const Form& form : forms) result.push_back({{edge.first, edge.second}, form});
  return result;
}

}  // namespace qhv
