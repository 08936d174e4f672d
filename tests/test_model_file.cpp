// Models as files: trained checkpoints against PyTorch's logits, and quantised models there and back.
#include <cmath>
#include <doctest/doctest.h>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "models/model.h"
#include "models/runner.h"
#include "nn/passes.h"
#include "nn/shapes.h"
#include "quant/equalize.h"
#include "quant/fake_quant.h"
#include "quant/methods/methods.h"
#include "tensor/safetensors.h"
#include "tests/support.h"

using namespace qhv;
using nlohmann::json;

namespace {

Model quantized_model(const std::string& arch, bool full = false) {
  Model model = generated_model(*find_arch(arch), 5, 64);
  const std::vector<Tensor> images{generate_input(1, 3, 64, 64)};
  QuantizedGraph q = quantize_graph(find_method("minmax"), model.graph,
                                    {.images = images, .wbits = 8, .abits = 8, .threads = 2, .full = full});
  model.graph = std::move(q.graph);
  model.plan = std::move(q.plan);
  model.preprocess = R"({"resize":72})";
  return model;
}

}  // namespace

TEST_CASE("trained models: logits on 16 photographs equal PyTorch's in float64 to 1e-3") {
  const auto path = test::shared_path("golden/photo121_golden.safetensors");
  if (!path) return;
  const TensorFile golden = read_safetensors(*path);
  const RawTensor& raw = golden.tensors.at("images_u8");
  Tensor images({16, 3, 256, 256});
  for (std::int64_t i = 0; i < images.size(); ++i)
    images[i] = real(std::to_integer<int>(raw.bytes[std::size_t(i)]) / 255.0);
  int compared = 0;
  for (const Arch& arch : known_archs()) {
    if (!golden.tensors.contains(arch.name)) continue;
    const auto file = test::shared_path("models/photo121_" + arch.name + ".safetensors");
    REQUIRE(file);
    const Model model = load_model(*file);
    CHECK(model.arch.name == arch.name);
    const Tensor expected = to_real(golden.tensors.at(arch.name), arch.name);
    INFO(arch.name);
    CHECK(test::difference(run(model.graph, images), expected, 1e-3) == "");
    ++compared;
  }
  CHECK(compared == 7);
}

TEST_CASE("equalised, affine and 16-bit weights come back bit by bit, each in a type that holds its codes") {
  const test::TemporaryFolder folder;
  Model saved = generated_model(*find_arch("mobilevit_xxs"), 5, 64);
  const std::vector<Tensor> images{generate_input(1, 3, 64, 64)};
  QuantizedGraph q = quantize_minmax(saved.graph, {.images = images});
  LayerPlan &equalised = q.plan.layers[1], &affine = q.plan.layers[2], &wide = q.plan.layers[3];
  const auto weight = [&](const LayerPlan& layer) -> const Tensor& {
    const Node& node = saved.graph.nodes[std::size_t(find_node(saved.graph, layer.node))];
    return saved.graph.params[std::size_t(node.params[0])].value;
  };
  for (std::int64_t c = 0; c < weight(equalised).dim(1); ++c)
    equalised.equalization.push_back(0.3f + 0.1f * float(c));
  const Tensor scaled = multiply_channels(weight(equalised), equalised.equalization);
  equalised.weight->quantizer = symmetric_params(channel_ranges(scaled, 0), 6, 0);
  affine.weight->quantizer = affine_params(channel_ranges(weight(affine), 0), 8, 0);
  wide.weight->quantizer = symmetric_params(channel_ranges(weight(wide), 0), 16, 0);
  quantize_weights(saved.graph, q.plan);
  saved.plan = q.plan;

  const std::string path = folder / "q.safetensors";
  save_quantized(path, saved);
  const Model loaded = load_model(path);
  CHECK(loaded.plan == saved.plan);
  for (const LayerPlan& layer : saved.plan->layers) {
    if (!layer.weight) continue;
    const int param = saved.graph.nodes[std::size_t(find_node(saved.graph, layer.node))].params[0];
    CHECK_MESSAGE(test::difference(loaded.graph.params[std::size_t(param)].value,
                                   saved.graph.params[std::size_t(param)].value, 0) == "",
                  layer.node);
  }
  const TensorFile file = read_safetensors(path);
  CHECK(file.tensors.at(equalised.node + ".weight").dtype == DType::kI8);
  CHECK(file.tensors.at(affine.node + ".weight").dtype == DType::kU8);
  CHECK(file.tensors.at(wide.node + ".weight").dtype == DType::kI16);
  std::get<QParams>(saved.plan->layers[1].weight->quantizer).scale.pop_back();
  CHECK(test::error_of([&] {
          save_quantized(path, saved);
        }).starts_with("invalid_argument: [" + equalised.node));
  saved.plan = q.plan;
  saved.plan->layers[1].equalization.pop_back();
  CHECK(test::error_of([&] { save_quantized(path, saved); }).find("factors of equalization") !=
        std::string::npos);
}

TEST_CASE("a quantised model comes back as it was, bit by bit") {
  const test::TemporaryFolder folder;
  for (const char* arch : {"mobilevit_xxs", "mobilevitv2_050"}) {
    const Model saved = quantized_model(arch);
    const std::string path = folder / "q.safetensors";
    save_quantized(path, saved);
    const Model loaded = load_model(path);
    CHECK(loaded.arch.name == saved.arch.name);
    CHECK(loaded.classes == 5);
    CHECK(loaded.res == 64);
    CHECK(loaded.parameters == saved.parameters);
    CHECK(std::string(loaded.engine()) == "fake-quant");
    CHECK(json::parse(loaded.preprocess) == json::parse(saved.preprocess));
    CHECK(loaded.plan == saved.plan);
    const Tensor x = generate_input(1, 3, 64, 64);
    CHECK(test::difference(run(loaded.graph, x, model_hooks(loaded)), run(saved.graph, x, model_hooks(saved)),
                           0) == "");

    const TensorFile file = read_safetensors(path);
    CHECK(file.tensors.at("stem.conv.weight").dtype == DType::kI8);
    CHECK(file.tensors.at("stem.conv.bias").dtype == DType::kF32);
    CHECK(load_model(path, 96).res == 96);  // another size: same plan
  }
}

TEST_CASE("a file of version 1, with all scales in the plan, is read as before") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "q.safetensors";
  const Model model = quantized_model("mobilevit_xxs");
  TensorFile file = quantized_file(model);
  json header = json::parse(file.metadata.at("qhyvit"));
  REQUIRE(!header["plan"]["layers"][0]["weight"].contains("scale"));
  header["plan"] = plan_to_json(*model.plan);
  header["version"] = 1;
  file.metadata["qhyvit"] = header.dump();
  CHECK(std::erase_if(file.tensors, [](const auto& t) { return t.first.ends_with(".weight.scale"); }) > 30);
  write_safetensors(path, file);
  CHECK(*load_model(path).plan == *model.plan);
}

TEST_CASE("a model that is loaded to run in integers keeps its codes, and gives the same logits") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "q.safetensors";
  const Tensor x = generate_input(1, 3, 64, 64);
  for (const char* arch : {"mobilevit_xxs", "mobilevitv2_050"}) {
    CAPTURE(arch);
    Model saved = quantized_model(arch, true);
    LayerPlan& affine = saved.plan->layers[0];  // its codes are unsigned
    const Node& node = saved.graph.nodes[std::size_t(find_node(saved.graph, affine.node))];
    const Tensor& weight = saved.graph.params[std::size_t(node.params[0])].value;
    affine.weight->quantizer = affine_params(channel_ranges(weight, 0), 8, 0);
    quantize_weights(saved.graph, *saved.plan);
    save_quantized(path, saved);

    Model simulated = load_model(path);
    const Model model = load_model(path, {}, true);
    CHECK(std::string(model.engine()) == "int8");
    CHECK(model.plan == simulated.plan);
    CHECK(model.parameters == simulated.parameters);
    CHECK(parameter_shapes(model.graph) == parameter_shapes(simulated.graph));
    std::int64_t codes = 0, values = 0, all = 0;
    for (const Param& p : model.graph.params) {
      codes += p.codes.size();
      values += p.value.size();
    }
    for (const Param& p : simulated.graph.params) all += p.value.size();
    CHECK(codes + values == all);
    CHECK(codes > 20 * values);

    simulated.in_integers = true;  // its codes are made from values
    CHECK(test::difference(Runner(model, 1, 1).run(x), Runner(simulated, 1, 1).run(x), 0) == "");
    Model misused = model;
    misused.in_integers = false;
    CHECK(test::error_of([&] { Runner(misused, 1, 1); }) ==
          "invalid_argument: [runner] the model was loaded for the integer engine alone");
  }
}

TEST_CASE("a quantised model is close to its float self") {
  const Model quantized = quantized_model("mobilevit_xxs");
  const Model original = generated_model(*find_arch("mobilevit_xxs"), 5, 64);
  const Tensor x = generate_input(1, 3, 64, 64);
  const Tensor y = run(original.graph, x), yq = run(quantized.graph, x, model_hooks(quantized));
  double signal = 0, noise = 0;
  for (std::int64_t i = 0; i < y.size(); ++i) {
    signal += double(y[i]) * double(y[i]);
    noise += std::pow(double(y[i] - yq[i]), 2);
  }
  CHECK(noise > 0);
  CHECK(noise < 0.01 * signal);
}

TEST_CASE("a quantised file that is not consistent is refused, by cause") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "q.safetensors";
  save_quantized(path, quantized_model("mobilevitv2_050"));
  const TensorFile good = read_safetensors(path);
  const auto error = [&](auto change) {
    TensorFile file = good;
    json header = json::parse(file.metadata.at("qhyvit"));
    change(file, header);
    file.metadata["qhyvit"] = header.dump();
    write_safetensors(path, file);
    const std::string text = test::error_of([&] { load_model(path); });
    CHECK(test::error_of([&] { load_model(path, {}, true); }) == text);
    return text;
  };
  const auto says = [&](auto change, const std::string& words) {
    const std::string text = error(change);
    INFO(text);
    CHECK(text.starts_with("runtime_error: " + path + ": "));
    CHECK(text.find(words) != std::string::npos);
  };
  CHECK(error([](TensorFile&, json&) {}) == "no error");
  says([](TensorFile&, json& h) { h = 3; }, "malformed metadata");
  says([](TensorFile&, json& h) { h.erase("plan"); }, "integer weights, but its metadata no plan");
  says([](TensorFile&, json& h) { h["labels"] = {"ant"}; }, "metadata with 1 names for 5 classes");
  says([](TensorFile&, json& h) { h["version"] = 99; }, "is of version 99");
  says([](TensorFile&, json& h) { h["arch"] = "resnet50"; }, "unknown architecture \"resnet50\"");
  says([](TensorFile&, json& h) { h["classes"] = 6; }, "metadata for 6 classes, tensors for 5");
  says([](TensorFile&, json& h) { h["res"] = 1 << 30; }, "is for images of 1073741824 pixels");
  says([](TensorFile&, json& h) { h["classes"] = 5.5; }, "classes is no whole number");
  says([](TensorFile&, json& h) { h["arch"] = "a\n" + std::string(1000, 'b'); }, "architecture \"a\\x0ab");
  says([](TensorFile&, json& h) { h["plan"]["layers"][0]["node"] = "nowhere"; },
       "tensor \"nowhere.weight.scale\": missing, and the plan has no scale");
  says(
      [](TensorFile& f, json& h) {
        h["plan"]["layers"][0]["node"] = "nowhere";
        auto scale = f.tensors.extract("stem.conv.weight.scale");
        scale.key() = "nowhere.weight.scale";
        f.tensors.insert(std::move(scale));
      },
      "no node \"nowhere\"");
  says([](TensorFile&, json& h) { h["plan"]["layers"][0]["op"] = std::string(1000, 'o'); }, "ooo...\"");
  says([](TensorFile&, json& h) { h["plan"]["layers"].erase(0); },
       "tensor \"stem.conv.weight.scale\" of shape [16] has no place");
  says(
      [](TensorFile& f, json& h) {
        h["plan"]["layers"].erase(0);
        f.tensors.erase("stem.conv.weight.scale");
      },
      "no plan for this layer");
  for (const auto& [scale, words] : {std::pair{0.0f, "scale 0"},
                                     {1e38f, "is infinite"},
                                     {-1.0f, "scale -1"},
                                     {INFINITY, "scale inf"},
                                     {NAN, "scale nan"}})
    says(
        [&](TensorFile& f, json&) {
          Tensor scales({16}, std::vector<real>(16, 1));
          scales[0] = scale;
          f.tensors["stem.conv.weight.scale"] = to_raw_f32(scales);
        },
        words);
  says([](TensorFile& f, json&) { f.tensors.erase("stem.conv.weight.scale"); },
       "tensor \"stem.conv.weight.scale\": missing, and the plan has no scale");
  says(
      [](TensorFile& f, json&) {
        f.tensors["stem.conv.weight.scale"] = to_raw_f32(Tensor({15}, std::vector<real>(15, 1)));
      },
      "15 scales and 15 zero points for 16 channels");
  says(
      [](TensorFile& f, json&) {
        f.tensors["stem.conv.weight.scale"] = to_raw_f32(Tensor({4, 4}));
      },
      "tensor \"stem.conv.weight.scale\": shape [4, 4]");
  says([](TensorFile&, json& h) { h["plan"]["layers"][0]["inputs"][0].erase("scale"); },
       "0 scales and 1 zero points");
  for (const json& no_number : {json("x"), json(NAN)})
    says([&](TensorFile&, json& h) { h["plan"]["layers"][0]["weight"]["scale"][0] = no_number; },
         "layer \"stem.conv\": malformed plan");
  for (const json& no_code : {json(1.5), json(4294967296), json(NAN)})
    says([&](TensorFile&, json& h) { h["plan"]["layers"][0]["inputs"][0]["zero_point"][0] = no_code; },
         "layer \"stem.conv\": zero_point is no whole number");
  says([](TensorFile&, json& h) { h["plan"]["layers"][0]["inputs"][0]["zero_point"][0] = 256; },
       "zero point 256");
  says([](TensorFile&, json& h) { h["plan"]["layers"][0]["weight"]["qmin"] = -5; }, "outside of -5 .. 127");
  says([](TensorFile& f, json&) { f.tensors.erase("stem.conv.bias"); },
       "stem.conv.bias of shape [16] is missing");
  says(
      [](TensorFile& f, json&) {
        f.tensors["stem.conv.weight"] = to_raw_f32(Tensor({16, 3, 3, 3}));
      },
      "stem.conv.weight");
  says([](TensorFile& f, json&) { f.tensors["\n" + std::string(1000, 'x')] = to_raw_f32(Tensor({1})); },
       "xxx...\" of shape [1] has no place");
}

TEST_CASE("metadata with a plan of any depth, and a classifier without bytes, take no memory") {
  const auto error = [](TensorFile file) {
    return test::error_of([&] { parse_model(std::move(file), "f"); });
  };
  TensorFile file = quantized_file(quantized_model("mobilevitv2_050"));
  const std::string good = file.metadata.at("qhyvit");
  const std::size_t plan = good.find("\"plan\":") + 7;
  file.metadata["qhyvit"] =
      good.substr(0, plan) + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}";
  CHECK(error(file) == "runtime_error: f: the metadata is nested too deeply");
  file.metadata["qhyvit"] = good;
  // Of a million classes, each with no features: the network for them would be of a gigabyte.
  file.tensors["head.fc.weight"] = {DType::kI8, {1'000'000, 0}, {}};
  CHECK(error(file) ==
        "runtime_error: f: tensor head.fc.weight has shape [1000000, 0] instead of [classes, 256]");
}

TEST_CASE(
    "a float checkpoint remembers size, preprocessing and names, and is refused where they do not fit") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "float.safetensors";
  Graph graph = build_mobilevit(*find_arch("mobilevit_xxs"), 2, 64);
  generate_weights(graph);
  Model model{*find_arch("mobilevit_xxs"), 2, 64, 0, {}, std::nullopt, R"({"res":64})", {"ant", "bee"}};
  save_checkpoint(path, model, graph);
  const Model loaded = load_model(path);
  CHECK(loaded.res == 64);
  CHECK(loaded.labels == model.labels);
  CHECK(loaded.preprocess == model.preprocess);
  CHECK(std::string(loaded.engine()) == "float32");
  CHECK(loaded.parameters == parameter_count(graph));
  CHECK(load_model(path, 96).res == 96);
  // F16 where there are two axes or more: a relative error of 2^-11 at most.
  const Graph folded = fold_batch_norm(graph);
  const Tensor x = generate_input(1, 3, 64, 64), expected = run(folded, x);
  double largest = 0;
  for (const real v : expected.values()) largest = std::max(largest, std::abs(double(v)));
  CHECK(test::difference(run(loaded.graph, x), expected, 0.01 * largest) == "");
  CHECK(test::difference(run(loaded.graph, x), expected, 0) != "");

  const TensorFile good = read_safetensors(path);
  CHECK(good.tensors.at("stem.conv.weight").dtype == DType::kF16);
  CHECK(good.tensors.at("stem.bn.running_var").dtype == DType::kF32);
  const auto says = [&](auto change, const std::string& words) {
    TensorFile file = good;
    json header = json::parse(file.metadata.at("qhyvit"));
    change(header);
    file.metadata["qhyvit"] = header.dump();
    write_safetensors(path, file);
    const std::string text = test::error_of([&] { load_model(path); });
    INFO(text);
    CHECK(text.starts_with("runtime_error: " + path + ": "));
    CHECK(text.find(words) != std::string::npos);
  };
  says([](json& h) { h["arch"] = "mobilevit_xs"; },
       "metadata of a mobilevit_xs with 2 classes, tensors of a mobilevit_xxs");
  says([](json& h) { h["labels"] = {"ant", "bee", "cat"}; }, "metadata with 3 names for 2 classes");
  says([](json& h) { h["res"] = 16; }, "is for images of 16 pixels");
  says([](json& h) { h.erase("preprocess"); }, "malformed metadata");

  Tensor& weight = graph.params[0].value;
  weight[0] = 70000;  // beyond F16
  CHECK(test::error_of([&] { save_checkpoint(path, model, graph); }).find("tensor stem.conv.weight") !=
        std::string::npos);
}

TEST_CASE("saving where one cannot write leaves nothing behind") {
  const Model model = quantized_model("mobilevitv2_050");
  const test::TemporaryFolder folder;
  CHECK(test::error_of([&] {
          save_quantized(folder / "missing/q.safetensors", model);
        }).find("cannot be written") != std::string::npos);
  CHECK(test::error_of([&] { save_quantized(folder.path(), model); }).find("cannot be written") !=
        std::string::npos);
  CHECK(std::filesystem::is_empty(folder.path()));
  Model no_plan = model;
  no_plan.plan.reset();
  CHECK(test::error_of([&] { save_quantized(folder / "q", no_plan); }) ==
        "invalid_argument: [save_quantized] the model has no plan");
}
