#include "quant/integer/partial_plan.h"

#include <map>
#include <memory>

#include "quant/fake_quant.h"
#include "quant/integer/layer_product.h"

namespace qhv {
namespace {

/// The products refer to the layers.
struct Products {
  PlannedLayers layers;
  std::map<int, LayerProduct> of_node = {};
};

}  // namespace

RunHooks partial_plan_hooks(const Graph& graph, const QuantPlan& plan, const IntegerKernels& kernels) {
  const auto products = std::make_shared<Products>(Products{PlannedLayers(graph, plan)});
  for (const int node : quantizable_nodes(graph))
    if (products->layers.is_integer_product(node))
      products->of_node.try_emplace(node, graph, products->layers, node, kernels);
  RunHooks hooks = fake_quant_hooks(graph, plan);
  hooks.compute_node = [products](int node, std::span<const Tensor* const> inputs) -> std::optional<Tensor> {
    const auto product = products->of_node.find(node);
    if (product == products->of_node.end()) return std::nullopt;
    return product->second.run(inputs);
  };
  return hooks;
}

}  // namespace qhv
