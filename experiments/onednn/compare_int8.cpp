// Our integer products against those of oneDNN, layer by layer, on one thread: whether oneDNN's sums are the
// same, and how long both take. Printed by `make compare-onednn`; DESIGN.md quotes it. No part of the
// program; oneDNN's interface is that of 2.x.
//
//   compare_int8 [ARCH] [RUNS] [KERNELS]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "experiments/timing.h"
#include "models/model.h"
#include "nn/shapes.h"
#include "quant/integer/products.h"
#include "tensor/rng.h"

namespace qhv {
namespace {

/// The product of a layer: a convolution without groups, or a linear layer as a pointwise one over its rows.
struct Product {
  std::int64_t height, width, in, out;
  ConvGeometry geometry;

  std::int64_t rows() const { return conv_extent(height, geometry) * conv_extent(width, geometry); }
  std::int64_t depth() const { return geometry.kernel * geometry.kernel * in; }
  auto key() const { return std::tuple(rows(), depth(), out, geometry.stride, geometry.kernel); }
  bool operator<(const Product& other) const { return key() < other.key(); }
};

/// All products of a network, and how often each occurs.
std::map<Product, int> products_of(const Graph& graph) {
  const std::vector<Shape> shapes = infer_shapes(graph);
  std::map<Product, int> found;
  for (const Node& node : graph.nodes) {
    if (node.inputs.empty()) continue;
    const Shape& x = shapes[std::size_t(node.inputs[0])];
    if (const auto* conv = std::get_if<Conv2d>(&node.op); conv && conv->geometry.groups == 1)
      ++found[{x[2], x[3], conv->in, conv->out, conv->geometry}];
    if (const auto* linear = std::get_if<Linear>(&node.op))
      ++found[{element_count(x) / linear->in, 1, linear->in, linear->out, {}}];
  }
  return found;
}

/// Codes of a map with its border, and weights [out][kernel, kernel][in]; both of all values, so that sums of
/// two neighbouring products do not fit 16 bits.
struct Operands {
  std::vector<std::uint8_t> src;
  WeightCodes weights;

  explicit Operands(const Product& p) {
    const std::int64_t pad = p.geometry.pad;
    src.resize(std::size_t((p.height + 2 * pad) * (p.width + 2 * pad) * p.in + kSlack));
    weights.codes.resize(std::size_t(p.out * p.depth()));
    for (std::size_t i = 0; i < src.size(); ++i) src[i] = std::uint8_t(random_below(1, i, 256));
    for (std::size_t i = 0; i < weights.codes.size(); ++i)
      weights.codes[i] = std::int8_t(std::int64_t(random_below(2, i, 255)) - 127);
    weights.scale.assign(std::size_t(p.out), 1.0);
    weights.zero.assign(std::size_t(p.out), 0);
  }
};

/// Ours, in blocks of rows as the engine asks for them.
class OwnProduct {
 public:
  OwnProduct(const Product& p, const Operands& x, const IntegerKernels& kernels)
      : kernels_(kernels),
        op_(p.geometry.kernel == 1 ? multiply_rows(x.weights, p.rows(), p.in)
                                   : multiply_windows(x.weights, p.in, p.geometry, p.height, p.width)),
        src_(x.src.data()),
        sums_(std::size_t(p.rows() * sums_stride(op_))) {}

  void run() {
    constexpr std::int64_t kBlock = 64;
    for (std::int64_t row = 0; row < op_.rows; row += kBlock)
      sum_rows(kernels_, op_, src_, row, std::min(kBlock, op_.rows - row),
               sums_.data() + row * sums_stride(op_));
  }
  std::int32_t sum(std::int64_t row, std::int64_t column) const {
    return sums_[std::size_t(row * sums_stride(op_) + column)];
  }

 private:
  const IntegerKernels& kernels_;
  MultiplyCodes op_;
  const std::uint8_t* src_;
  std::vector<std::int32_t> sums_;
};

/// oneDNN's primitive for it, with weights in the order that it likes best: a matrix product, or a
/// convolution of the same map, whose border is given and not implied.
class OneDnnProduct {
 public:
  OneDnnProduct(const Product& p, Operands& x) : sums_(std::size_t(p.rows() * p.out)), columns_(p.out) {
    using dnnl::memory;
    using Type = memory::data_type;
    using Tag = memory::format_tag;
    const bool matrix = p.geometry.kernel == 1;
    const memory::dim pad = p.geometry.pad, kernel = p.geometry.kernel;
    const memory::dims src =
        matrix ? memory::dims{p.rows(), p.in} : memory::dims{1, p.in, p.height + 2 * pad, p.width + 2 * pad};
    const memory::dims weights =
        matrix ? memory::dims{p.in, p.out} : memory::dims{p.out, p.in, kernel, kernel};
    const memory::dims dst =
        matrix ? memory::dims{p.rows(), p.out}
               : memory::dims{1, p.out, conv_extent(p.height, p.geometry), conv_extent(p.width, p.geometry)};
    const memory::desc src_desc(src, Type::u8, matrix ? Tag::ab : Tag::nhwc),
        ours(weights, Type::s8, matrix ? Tag::ba : Tag::ohwi), any(weights, Type::s8, Tag::any),
        dst_desc(dst, Type::s32, matrix ? Tag::ab : Tag::nhwc);
    if (matrix)
      prepare(dnnl::matmul::primitive_desc({src_desc, any, dst_desc}, engine_), x, ours);
    else
      prepare(dnnl::convolution_forward::primitive_desc({dnnl::prop_kind::forward_inference,
                                                         dnnl::algorithm::convolution_direct,
                                                         src_desc,
                                                         any,
                                                         dst_desc,
                                                         {p.geometry.stride, p.geometry.stride},
                                                         {0, 0},
                                                         {0, 0}},
                                                        engine_),
              x, ours);
  }

  void run() {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }
  std::int32_t sum(std::int64_t row, std::int64_t column) const {
    return sums_[std::size_t(row * columns_ + column)];
  }
  const std::string& implementation() const { return implementation_; }

 private:
  template <typename Description>
  void prepare(const Description& chosen, Operands& x, const dnnl::memory::desc& ours) {
    dnnl::memory given(ours, engine_, x.weights.codes.data()), weights(chosen.weights_desc(), engine_);
    dnnl::reorder(given, weights).execute(stream_, given, weights);
    stream_.wait();
    arguments_ = {{DNNL_ARG_SRC, {chosen.src_desc(), engine_, x.src.data()}},
                  {DNNL_ARG_WEIGHTS, weights},
                  {DNNL_ARG_DST, {chosen.dst_desc(), engine_, sums_.data()}}};
    implementation_ = chosen.impl_info_str();
    primitive_ = typename std::conditional<std::is_same_v<Description, dnnl::matmul::primitive_desc>,
                                           dnnl::matmul, dnnl::convolution_forward>::type(chosen);
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::primitive primitive_;
  std::unordered_map<int, dnnl::memory> arguments_;
  std::string implementation_;
  std::vector<std::int32_t> sums_;
  std::int64_t columns_;
};

void compare(const Arch& arch, int runs, const IntegerKernels& kernels) {
  std::printf("%s, kernels %s, oneDNN %d.%d.%d, one thread, medians of %d runs\n", arch.name.c_str(),
              kernels.name, DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH, runs);
  std::printf("%7s %6s %5s %2s %3s %9s %10s %6s %8s  %s\n", "rows", "depth", "out", "k", "x", "ours us",
              "oneDNN us", "ratio", "differ %", "oneDNN's");
  double total[2] = {};
  for (const auto& [product, count] : products_of(generated_model(arch).graph)) {
    Operands operands(product);
    OwnProduct ours(product, operands, kernels);
    OneDnnProduct theirs(product, operands);
    const std::vector<Times> times = time_in_turn({[&] { ours.run(); }, [&] { theirs.run(); }}, runs);
    std::int64_t different = 0;
    for (std::int64_t row = 0; row < product.rows(); ++row)
      for (std::int64_t column = 0; column < product.out; ++column)
        different += ours.sum(row, column) != theirs.sum(row, column);
    std::printf("%7lld %6lld %5lld %2d %3d %9.1f %10.1f %6.2f %8.2f  %s\n", (long long)product.rows(),
                (long long)product.depth(), (long long)product.out, int(product.geometry.kernel), count,
                1e3 * times[0].median(), 1e3 * times[1].median(), times[1].median() / times[0].median(),
                100.0 * double(different) / double(product.rows() * product.out),
                theirs.implementation().c_str());
    for (int k : {0, 1}) total[k] += times[std::size_t(k)].median() * count;
  }
  std::printf("all: ours %.2f ms, oneDNN %.2f ms, ratio %.2f\n", total[0], total[1], total[1] / total[0]);
}

}  // namespace
}  // namespace qhv

int main(int argc, char** argv) {
  omp_set_num_threads(1);
  const char* name = argc > 1 ? argv[1] : "mobilevit_s";
  const qhv::Arch* arch = qhv::find_arch(name);
  if (!arch) return std::fprintf(stderr, "there is no architecture %s\n", name), 2;
  try {
    qhv::compare(*arch, argc > 2 ? std::max(1, std::atoi(argv[2])) : 30,
                 argc > 3 ? qhv::find_integer_kernels(argv[3]) : qhv::best_integer_kernels());
  } catch (const std::exception& e) {
    return std::fprintf(stderr, "%s\n", e.what()), 2;
  }
}
