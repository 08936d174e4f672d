// In which forms a value is read: for each node of a graph the encodings that its readers want, through
// everything that only moves values, and the buffers that hold them.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "nn/executor/attention_pattern.h"
#include "nn/executor/buffers.h"
#include "quant/integer/planned_layers.h"

namespace qhv {

/// Attention as a single step: the pattern, and the encoding of the joint projection's rows.
struct AttentionGroup {
  AttentionMatch match;
  Encoding projection;
};

/// A form of a node's output: columns `column` .. of the rows, `stride` codes each, of a buffer.
struct Form {
  Encoding encoding;
  int buffer = -1;
  std::int64_t rows = 0, column = 0, stride = 0;
};

/// An input of a node as the program has it, or a plane of it; of the last node of an attention, the
/// projection's rows.
struct StoredInput {
  Edge edge;
  Form form;
};

class Readers : public PlannedLayers {
 public:
  /// Buffers are appended to `buffers`; all arguments must outlive it. Throws std::invalid_argument
  /// "[integer engine] ...", naming the node, for quantisers without integer arithmetic.
  Readers(const Graph& graph, const QuantPlan& plan, std::vector<Buffer>& buffers);

  /// The forms in which the output of a node is wanted. The network's output has none.
  const std::vector<Form>& forms(int node);

  /// Where input `slot` of the node is found; of the last node of an attention: the projection's rows.
  const Form& input(Edge edge) const { return planes(edge).front(); }
  /// The same of a layer that may read planes: both of twin ranges, the low one first, otherwise the input.
  const std::vector<Form>& planes(Edge edge) const;

  /// All inputs that were found, each plane of them.
  std::vector<StoredInput> inputs() const;

  /// The only reader of a node, or -1.
  int only_reader(int node) const;

  /// The attention whose last node this is, or null; and whether a node is part of one.
  const AttentionGroup* attention(int node) const;
  bool is_inside(int node) const { return group_of_[std::size_t(node)] >= 0; }

 private:
  void find_attention();
  void add_group(AttentionGroup group, int last);
  void add_forms(std::vector<Form>& forms, int node, std::vector<Encoding> planes, Edge edge);
  void follow(std::vector<Form>& forms, int node, Edge reader);

  std::vector<Buffer>& buffers_;
  std::vector<std::vector<Edge>> readers_;
  std::vector<int> group_of_;             // or -1
  std::map<int, AttentionGroup> groups_;  // by last node
  std::map<int, std::vector<Form>> forms_;
  std::map<std::pair<int, int>, std::vector<Form>> inputs_;  // by edge
};

}  // namespace qhv
