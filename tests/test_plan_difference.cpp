// Two plans side by side: what differs between them, by hand and by the program.
#include <algorithm>
#include <doctest/doctest.h>

#include "experiments/plan_difference.h"
#include "tests/program.h"

using namespace qhv;
using namespace qhv::test;
using nlohmann::json;

namespace {

TensorPlan per_tensor(float scale) {
  return {QParams{.scale = {scale}, .zero_point = {3}, .axis = -1, .qmin = 0, .qmax = 255}};
}

/// Two layers: one with a weight and a score, a product without.
QuantPlan two_layers() {
  const TensorPlan weight{
      QParams{.scale = {0.5F, 0.25F}, .zero_point = {0, 0}, .axis = 0, .qmin = -127, .qmax = 127}};
  QuantPlan plan{.method = "m", .layers = {}};
  plan.layers.push_back({.node = "conv", .op = "conv2d", .inputs = {per_tensor(1)}, .weight = weight});
  plan.layers.push_back({.node = "product", .op = "matmul", .inputs = {per_tensor(2), per_tensor(3)}});
  plan.layers[0].score = SearchScore{2, 1};
  return plan;
}

}  // namespace

TEST_CASE("plan difference: what decides is compared, what is measured is not") {
  const QuantPlan a = two_layers();
  QuantPlan b = a;
  b.layers[0].sqnr_db = 30;
  b.layers[0].inputs[0].saturation = 0.5;
  const PlanDifference none = compare_plans(a, b);
  CHECK(none.tensors.empty());
  CHECK(none.same == 4);
  CHECK(difference_table(none) == "No parameters differ: all 4 tensors are the same.\n");
  CHECK(differences_json(none) == json::array());

  b.layers[1].inputs[1] = per_tensor(0.125);
  const json one = differences_json(compare_plans(a, b));
  REQUIRE(one.size() == 1);
  CHECK(one[0].at("name") == "product");
  CHECK(one[0].at("tensor") == "input 1");
  CHECK(one[0].at("a").at("scale") == json{3.0});
  CHECK(one[0].at("b").at("scale") == json{0.125});
  CHECK_FALSE(one[0].at("a").contains("score"));
}

TEST_CASE("plan difference: equalization, zero points, other quantisers, objectives") {
  const QuantPlan a = two_layers();
  QuantPlan b = a;
  b.layers[0].equalization = {1, 2};
  const PlanDifference equalization = compare_plans(a, b);
  CHECK(equalization.tensors.size() == 2);  // it moves scales of the input into the weight
  CHECK(equalization.same == 2);

  b = a;
  std::get<QParams>(b.layers[1].inputs[0].quantizer).zero_point = {4};
  CHECK(compare_plans(a, b).tensors.size() == 1);
  b = a;
  b.layers[1].inputs[0].quantizer = LogUniform{};
  CHECK(differences_json(compare_plans(a, b))[0].at("b").at("scheme") == "log2");

  b = a;
  b.layers[0].score = SearchScore{2, 0.5};
  b.layers[0].inputs[0] = per_tensor(0.5);
  const PlanDifference better = compare_plans(a, b);
  CHECK(better.better_a == 0);
  CHECK(better.better_b == 1);
  const std::string text = difference_table(better);
  CHECK(text.find("x0.500") != std::string::npos);
  CHECK(text.find("x0.250") != std::string::npos);
  CHECK(
      text.find("1 tensors differ, 3 are the same. The objective is lower in A for 0 layers, in B for 1.") !=
      std::string::npos);
}

TEST_CASE("plan difference: a tensor that only one plan quantises") {
  const QuantPlan a = two_layers();
  QuantPlan b = a;
  b.layers.push_back({.node = "norm", .op = "layer_norm", .inputs = {per_tensor(1)}});
  const json more = differences_json(compare_plans(a, b)), less = differences_json(compare_plans(b, a));
  REQUIRE(more.size() == 1);
  CHECK(more[0].at("name") == "norm");
  CHECK(more[0].at("a").is_null());
  CHECK(more[0].at("b").at("scheme") == "affine");
  REQUIRE(less.size() == 1);
  CHECK(less[0].at("b").is_null());
  CHECK(difference_table(compare_plans(a, b)).find("not quantised") != std::string::npos);
}

TEST_CASE("info --against: two quantised models, and what cannot be compared") {
  const ProgramFolder place;
  write_generated_checkpoint(place.folder / "m.safetensors", 3, 32);
  for (const char* method : {"minmax", "omse"})
    REQUIRE(place
                .run(concat("quantize m.safetensors --calib synthetic:calib:21 --images 2 --res 32 --method ",
                            method, " --out ", method))
                .code == 0);
  const json result = place.result("info minmax --against omse");
  CHECK(result.at("arch") == "mobilevit_xxs");
  CHECK(result.at("a").at("method") == "minmax");
  CHECK(result.at("b").at("model") == "omse");
  const std::size_t count = result.at("differences").size();
  CHECK(count > 50);
  const std::string text = place.run("info minmax --against omse").out;
  CHECK(std::size_t(std::count(text.begin(), text.end(), '\n')) == 2 + 1 + count + 1);
  CHECK(text.starts_with("A: minmax, mobilevit_xxs by minmax, weights 8 bits"));

  const json same = place.result("info omse --against omse");
  CHECK(same.at("differences").empty());
  CHECK(same.at("same").get<std::size_t>() == count + result.at("same").get<std::size_t>());
  CHECK(place.run("info omse --against omse").out.find("No parameters differ") != std::string::npos);

  const std::string other = QHV_SOURCE_DIR "/models/pretrained/synthetic_mobilevitv2_050.safetensors";
  REQUIRE(place
              .run(concat("quantize ", other,
                          " --calib synthetic:calib:21 --images 2 --res 32 --method minmax --out other"))
              .code == 0);
  place.fails("info omse --against other", {"other: is a mobilevitv2_050, not a mobilevit_xxs as omse"});
  place.fails("info m.safetensors --against omse", {"m.safetensors: is not quantised"});
  place.fails("info omse --against m.safetensors", {"m.safetensors: is not quantised"});
  place.fails("info omse --against missing", {"missing", "No such file"});
  place.is_wrong_usage("info omse --against omse --graph", "--graph");
}
