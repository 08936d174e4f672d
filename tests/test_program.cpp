// The program as a user meets it: exit codes, one-line errors, JSON, and the whole way from a checkpoint to a
// quantised model's accuracy. The checkpoint has generated weights and the photographs are noise, so nothing
// is needed from outside.
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "tensor/kernels/integer_kernels.h"
#include "tensor/kernels/kernels.h"
#include "tests/image_files.h"
#include "tests/program.h"

using namespace qhv;
using namespace qhv::test;
using nlohmann::json;

namespace {

/// A folder with a checkpoint for 3 classes, photographs of them, and the program run inside of it.
class Workplace : public ProgramFolder {
 public:
  Workplace() {
    write_generated_checkpoint(folder / "model.safetensors", 3, 64);
    std::uint64_t seed = 0;
    for (const char* name : {"a", "b", "c"}) {
      std::filesystem::create_directories(folder / ("val/" + std::string(name)));
      for (int i = 0; i < 3; ++i)
        save(folder / concat("val/", name, "/", i, ".bmp"), bmp_bytes(random_image(40 + i, 50, ++seed)));
    }
    std::ofstream(folder / "names.txt") << "ant\nbee\ncat\n";
  }
};

const Workplace& workplace() {
  static const Workplace w;
  return w;
}

void fails(const std::string& arguments, const std::vector<std::string>& words) {
  workplace().fails(arguments, words);
}

void is_wrong_usage(const std::string& arguments, const std::string& words) {
  workplace().is_wrong_usage(arguments, words);
}

}  // namespace

TEST_CASE("program: help and usage") {
  CHECK(workplace().run("--help").code == 0);
  CHECK(workplace().run("quantize --help").out.find("percentile") != std::string::npos);
  is_wrong_usage("", "subcommand");
  is_wrong_usage("dance", "subcommand");
  is_wrong_usage("eval model.safetensors", "--data");
  is_wrong_usage("eval model.safetensors --data val --res 31", "--res");
  is_wrong_usage("eval model.safetensors --data val --res 64 --resize 50", "resize 50 is below res 64");
  is_wrong_usage("eval model.safetensors --data val --resize 70 --crop-pct 0.9", "--crop-pct");
  is_wrong_usage("eval model.safetensors --data val --mean 1 2", "--mean");
  is_wrong_usage("eval model.safetensors --data val --std 1 2 x", "not a number");
  is_wrong_usage("eval model.safetensors --data val --std 1 0 1", "std 0");
  is_wrong_usage("eval model.safetensors --data val --res 64 --engine fake-quant",
                 "this model runs as float32");
  is_wrong_usage("eval model.safetensors --data val --threads 0", "--threads");
  is_wrong_usage("eval model.safetensors --data val --kernels gpu", "no kernel \"gpu\"");
  is_wrong_usage("quantize model.safetensors --calib val --out q --method magic", "minmax");
  is_wrong_usage("quantize model.safetensors --calib val --out q --method minmax --wbits 9", "--wbits");
}

TEST_CASE("program: from a checkpoint to a quantised model's accuracy") {
  const json info = workplace().result("info model.safetensors --res 64 --graph");
  CHECK(info.at("arch") == "mobilevit_xxs");
  CHECK(info.at("classes") == 3);
  CHECK(info.at("params") == 1272024 - (1000 - 3) * 321);  // timm counts 1,272,024 for 1000 classes
  CHECK(info.at("engine") == "float32");
  CHECK(info.at("ops").at("conv2d").at("count") == 35);
  CHECK(info.at("macs").get<double>() > 1e7);

  const std::string image_options = " --res 64 --crop-pct 1 --mean imagenet --std 0.2 0.2 0.2";
  const json eval = workplace().result("eval model.safetensors --data val --batch 2" + image_options);
  CHECK(eval.at("images") == 9);
  CHECK(eval.at("skipped").empty());
  CHECK(eval.at("top5") == 1.0);  // of three classes
  for (const char* key : {"arch", "engine", "top1", "seconds", "images_per_second"})
    CHECK(eval.contains(key));
  CHECK(workplace().result("eval model.safetensors --data val --limit 4" + image_options).at("images") == 4);

  const json quantized = workplace().result(
      "quantize model.safetensors --calib val --out q.safetensors --method percentile --images 5" +
      image_options);
  CHECK(quantized.at("method") == "percentile");
  CHECK(quantized.at("wbits") == 8);
  CHECK(quantized.at("peak_bytes").get<double>() > 1e6);
  REQUIRE(quantized.at("layers").size() > 100);
  for (const char* key : {"name", "operator", "scheme", "granularity", "scale", "zero_point", "sqnr_db"})
    CHECK(quantized.at("layers")[0].contains(key));

  // It remembers how its images were prepared.
  const json again = workplace().result("eval q.safetensors --data val --engine fake-quant");
  CHECK(again.at("engine") == "fake-quant");
  CHECK(again.at("images") == 9);
  const json same = workplace().result("eval q.safetensors --data val --threads 1" + image_options);
  CHECK(again.at("top1") == same.at("top1"));
  const json audit = workplace().result("info q.safetensors");
  CHECK(audit.at("res") == 64);
  CHECK(audit.at("params") == info.at("params"));
  CHECK(audit.at("layers") == quantized.at("layers"));
  fails("quantize q.safetensors --calib val --out q2 --method minmax",
        {"q.safetensors: is quantised already"});
}

TEST_CASE("program: a full plan runs in integers, by the kernels asked for; others are refused") {
  const Workplace& w = workplace();
  const std::string quantize =
      "quantize model.safetensors --calib val --images 5 --res 64 --method minmax --out ";
  REQUIRE(w.run(quantize + "full.safetensors --full").code == 0);
  REQUIRE(w.run(quantize + "partial.safetensors").code == 0);
  const json integers = w.result("info full.safetensors").at("integer_engine");
  CHECK(integers.at("float_islands").empty());
  CHECK(integers.at("weight_bytes").get<double>() > 1e6);
  CHECK(integers.at("arena_bytes").get<double>() > 1e4);
  json first;
  for (const IntegerKernels* table : integer_kernel_tables()) {
    if (!table->is_supported()) continue;
    const json result =
        w.result(concat("--engine int8 --kernels ", table->name, " classify full.safetensors val/a/0.bmp"));
    CHECK(result.at("engine") == "int8");
    if (first.is_null()) first = result.at("predictions");
    CHECK(result.at("predictions") == first);  // to the last bit of the probabilities
  }
  const json bench = w.result("--engine int8 bench mobilevitv2_050 --res 64 --runs 2 --threads 1");
  CHECK(bench.at("engine") == "int8");
  CHECK(bench.at("kernels") == best_integer_kernels().name);
  CHECK(bench.at("arena_bytes").get<double>() > 1e4);
  CHECK(!bench.contains("load_ms"));  // weights are generated
  CHECK(w.result("--engine int8 bench full.safetensors --runs 2 --threads 1").at("load_ms") > 0);

  CHECK(w.result("info partial.safetensors").at("integer_engine").at("float_islands").size() > 50);
  for (const char* command :
       {"eval partial.safetensors --data val", "classify partial.safetensors val/a/0.bmp",
        "bench partial.safetensors --runs 1"})
    w.fails(concat("--engine int8 ", command), {"partial.safetensors: [integer engine] silu stem.act",
                                                "quantise with --full", "--allow-float-islands"});
  w.fails("--engine int8 --kernels portable eval full.safetensors --data val",
          {"no integer kernels \"portable\""});
  w.is_wrong_usage("--engine int8 eval model.safetensors --data val --res 64", "this model runs as float32");
}

TEST_CASE("program: a partial plan runs in integers with float islands where they are allowed") {
  const Workplace& w = workplace();
  REQUIRE(w.run("quantize model.safetensors --calib val --images 5 --res 64 --method minmax --out islands.st")
              .code == 0);
  const std::string allowed = "--engine int8 --allow-float-islands ";
  const json info = w.result("info islands.st").at("integer_engine");
  const json eval = w.result(allowed + "eval islands.st --data val --against islands.st");
  CHECK(eval.at("engine") == "int8");
  CHECK(eval.at("integer_nodes") == w.result("info islands.st").at("layers").size() / 2);
  CHECK(eval.at("float_nodes") == info.at("float_islands").size());
  CHECK(eval.at("against").at("agreement") == 1.0);
  const std::string counts = concat(eval.at("integer_nodes").get<int>(), " nodes in integers, ",
                                    eval.at("float_nodes").get<int>(), " in floating point\n");
  for (const char* command :
       {"eval islands.st --data val", "classify islands.st val/a/0.bmp", "bench islands.st --runs 1"}) {
    CAPTURE(command);
    const std::string out = w.run(allowed + command).out;
    CHECK(out.find(counts) != std::string::npos);
    CHECK(out.find(counts) == out.rfind(counts));
    CHECK(w.run(concat(allowed, "--quiet ", command)).out.empty());
  }
  w.is_wrong_usage("--allow-float-islands eval islands.st --data val", "goes with --engine int8");
  w.is_wrong_usage("--allow-float-islands --engine fake-quant eval islands.st --data val",
                   "goes with --engine int8");

  REQUIRE(
      w.run("quantize model.safetensors --calib val --images 5 --res 64 --method minmax --full --out f.st")
          .code == 0);
  const json full = w.result("--engine int8 classify f.st val/a/0.bmp");
  CHECK(w.result(allowed + "classify f.st val/a/0.bmp") == full);
  CHECK(!full.contains("float_nodes"));
}

TEST_CASE("program: eval tells how far two models' answers are apart") {
  const Workplace& w = workplace();
  w.result(
      "quantize model.safetensors --calib val --images 4 --res 64 --method minmax --wbits 3 --out "
      "far.safetensors");
  const auto against = [&](const std::string& other) {
    return w.result("eval far.safetensors --data val --against " + other).at("against");
  };
  const json self = against("far.safetensors"), other = against("model.safetensors");
  CHECK(self.at("agreement") == 1);
  CHECK(std::abs(self.at("divergence").get<double>()) < 1e-12);
  CHECK(other.at("divergence") > 1e-6);
  CHECK(other.at("agreement") <= 1);
  test::write_generated_checkpoint(w.folder / "five.safetensors", 5, 64);
  fails("eval far.safetensors --data val --against five.safetensors",
        {"five.safetensors: has 5 classes, far.safetensors has 3"});
}

TEST_CASE("program: the same seed gives the same file, with any number of threads") {
  const std::string command =
      "quantize model.safetensors --calib val --method percentile --images 6 --res 64 --seed 7";
  CHECK(workplace().run(command + " --threads 1 --out one.safetensors").code == 0);
  CHECK(workplace().run(command + " --threads 3 --out three.safetensors").code == 0);
  CHECK(text_of(workplace().folder / "one.safetensors") == text_of(workplace().folder / "three.safetensors"));
}

TEST_CASE("program: a search that was killed goes on where it was, and only that search does") {
  const Workplace& w = workplace();
  const std::string search = "quantize model.safetensors --calib val --images 4 --res 64 --method qhyvit";
  REQUIRE(w.run(search + " --out whole.safetensors").code == 0);
  const std::string killed =
      concat("{ ", QHV_PROGRAM, " ", search,
             " --out killed.safetensors & p=$!; while [ ! -e killed.safetensors.search ]; do sleep 0.01; "
             "done; kill -9 $p; wait $p; } > log 2>&1;");
  const Outcome other = w.run(search + " --wbits 6 --out killed.safetensors", killed);
  CHECK(other.code == 1);
  CHECK(
      other.err.find(
          "killed.safetensors.search: is of another search, which was interrupted (qhyvit, W8A8, 4 images") !=
      std::string::npos);
  CHECK(!std::filesystem::exists(w.folder / "killed.safetensors"));
  const Outcome resumed = w.run(search + " --out killed.safetensors");
  CHECK(resumed.code == 0);
  CHECK(resumed.err.find("goes on from killed.safetensors.search") != std::string::npos);
  CHECK(text_of(w.folder / "killed.safetensors") == text_of(w.folder / "whole.safetensors"));
  CHECK(!std::filesystem::exists(w.folder / "killed.safetensors.search"));
  std::ofstream(w.folder / "killed.safetensors.search") << "{}";
  fails(search + " --out killed.safetensors",
        {"killed.safetensors.search: is not what an interrupted search leaves"});
  std::filesystem::remove(w.folder / "killed.safetensors.search");
}

TEST_CASE("program: a reconstruction that was killed goes on where it was") {
  const Workplace& w = workplace();
  const std::string command =
      "quantize model.safetensors --calib val --images 4 --res 64 --method minmax --wbits 4 --ends-bits 8"
      " --reconstruct erq --reconstruct-images 8";
  REQUIRE(w.run(command + " --out whole.safetensors").code == 0);
  const std::string killed = concat(
      "{ ", QHV_PROGRAM, " ", command,
      " --out killed.safetensors & p=$!; while [ ! -e killed.safetensors.reconstruct ]; do sleep 0.01; "
      "done; kill -9 $p; wait $p; } > log 2>&1;");
  CHECK(w.run(command + " --iterations 3 --out killed.safetensors", killed).code == 1);
  // A reconstruction whose search file is gone belongs to nothing: it must not enter a later run.
  std::filesystem::copy_file(w.folder / "killed.safetensors.reconstruct", w.folder / "stale.reconstruct");
  CHECK(
      w.run("quantize model.safetensors --calib val --images 4 --res 64 --method minmax --out stale").code ==
      0);
  CHECK(!std::filesystem::exists(w.folder / "stale.reconstruct"));
  const Outcome resumed = w.run(command + " --out killed.safetensors");
  CHECK(resumed.code == 0);
  CHECK(resumed.err.find("goes on from killed.safetensors.reconstruct") != std::string::npos);
  CHECK(text_of(w.folder / "killed.safetensors") == text_of(w.folder / "whole.safetensors"));
  for (const char* left : {"killed.safetensors.search", "killed.safetensors.reconstruct"})
    CHECK(!std::filesystem::exists(w.folder / left));
  const json layers = w.result("info whole.safetensors").at("layers");
  std::vector<int> weight_bits;
  for (const json& row : layers)
    if (row.at("tensor") == "weight") weight_bits.push_back(row.at("bits"));
  CHECK(weight_bits.front() == 8);
  CHECK(weight_bits.back() == 8);
  CHECK(std::ranges::count(weight_bits, 4) == std::ssize(weight_bits) - 2);
}

TEST_CASE("program: bits by layer under a budget") {
  const Workplace& w = workplace();
  const std::string command =
      "quantize model.safetensors --calib val --images 4 --res 64 --method minmax --out m";
  w.result(command + " --budget 0.7 --ends-bits 8 --budget-curve curve.csv");
  std::map<int, int> counts;
  const json info = w.result("info m");
  for (const json& row : info.at("layers"))
    if (row.at("tensor") == "weight") ++counts[row.at("bits")];
  CHECK(counts.size() >= 2);
  for (const auto& [bits, count] : counts) CHECK((bits == 4 || bits == 6 || bits == 8));
  const std::string curve = text_of(w.folder / "curve.csv");
  CHECK(curve.starts_with("budget,share,error,bits\n"));
  CHECK(std::ranges::count(curve, '\n') == 42);
  w.result(command + " --budget 0.5 --budget-of bitops");
  fails(command + " --budget 0.4", {"a budget of 0.4 is below 0.5"});
}

TEST_CASE("program: reconstruction, and what info tells of it") {
  const std::string quantize =
      "quantize model.safetensors --calib val --out r.safetensors --method minmax --wbits 4"
      " --images 4 --res 64 --iterations 2 --reconstruct ";
  workplace().result(quantize + "bridge --reconstruct-images 6");
  const json trace = workplace().result("info r.safetensors").at("reconstruction");
  CHECK(trace.at("kind") == "bridge");
  CHECK(trace.at("images") == 6);
  REQUIRE(trace.at("pieces").size() > 20);
  for (const json& piece : trace.at("pieces"))
    CHECK((piece.at("kept") == true || piece.at("after").get<double>() < piece.at("before").get<double>()));
  CHECK(workplace().result("eval r.safetensors --data val").at("images") == 9);
  fails(quantize + "bridge --reconstruct-images 100", {"val", "has 9 images"});
  is_wrong_usage(quantize + "magic", "--reconstruct");
  is_wrong_usage(quantize + "bridge:magic", "--reconstruct");
  is_wrong_usage(quantize + "bridge --fast", "--fast");
  is_wrong_usage("quantize model.safetensors --calib val --out r --method minmax+magic", "--method");
  is_wrong_usage("quantize model.safetensors --calib val --out r --method minmax+erq --reconstruct bridge",
                 "--reconstruct");
}

TEST_CASE("program: classify and bench") {
  const json result = workplace().result(
      "classify model.safetensors val/a/0.bmp val/b/1.bmp --res 64 --top 2 --classes names.txt");
  REQUIRE(result.at("predictions").size() == 2);
  const json& top = result.at("predictions")[1].at("top");
  REQUIRE(top.size() == 2);
  const std::vector<std::string> names{"ant", "bee", "cat"};
  CHECK(top[0].at("class") == names[top[0].at("index").get<std::size_t>()]);
  CHECK(top[0].at("probability").get<double>() >= top[1].at("probability").get<double>());
  CHECK(result.at("predictions")[0].at("image") == "val/a/0.bmp");

  const json bench = workplace().result("bench mobilevitv2_050 --res 64 --runs 3 --threads 2 --kernels ref");
  CHECK(bench.at("threads") == 1);  // one image
  CHECK(bench.at("kernels") == "ref");
  for (const char* key : {"engine", "median_ms", "min_ms", "p90_ms", "gmacs", "isa", "peak_bytes"})
    CHECK(bench.contains(key));

  const Workplace& w = workplace();
  CHECK(w.result("bench --peaks --threads 1").at("peaks").at("gmacs") > 0.1);
  CHECK(w.run("bench").code == 2);
  const json compiled =
      w.result("bench mobilevit_xxs --res 64 --runs 3 --batch 2 --threads 2 --profile trace.json");
  CHECK(compiled.at("kernels") == best_float_kernels().name);
  CHECK(compiled.at("inside_ms").get<double>() > 0);
  CHECK(compiled.at("by_image_ms").get<double>() > 0);
  double macs = 0;
  for (const json& kind : compiled.at("operators")) macs += kind.at("macs").get<double>();
  CHECK(test::near(macs / 1e9, compiled.at("gmacs").get<double>(), 1e-9));
  const json trace = json::parse(text_of(w.folder / "trace.json"));
  CHECK(trace.at("traceEvents").size() > 100);
  CHECK(trace.at("traceEvents")[1].at("ts").get<double>() >=
        trace.at("traceEvents")[0].at("dur").get<double>());

  const json backward =
      workplace().result("bench mobilevit_xxs --res 64 --runs 2 --batch 3 --threads 2 --backward");
  CHECK(backward.at("threads") == 2);
  CHECK(backward.at("backward_ratio").get<double>() > 1);
  CHECK(backward.at("training_ms").get<double>() > backward.at("median_ms").get<double>());
}

TEST_CASE("program: bad input ends with code 1 and one line that names file and cause") {
  const Workplace& w = workplace();
  std::ofstream(w.folder / "cut.safetensors") << text_of(w.folder / "model.safetensors").substr(0, 5000);
  std::ofstream(w.folder / "text.txt") << "hello, this is not a model";
  fails("info missing.safetensors", {"missing.safetensors", "No such file"});
  fails("info val", {"val", "is a folder"});
  fails("info cut.safetensors", {"cut.safetensors"});
  fails("info text.txt", {"text.txt"});

  fails("eval model.safetensors --res 64 --data nowhere", {"nowhere"});
  std::filesystem::create_directories(w.folder / "empty");
  fails("eval model.safetensors --res 64 --data empty", {"empty"});
  std::filesystem::create_directories(w.folder / "two/a");
  std::filesystem::create_directories(w.folder / "two/b");
  save(w.folder / "two/a/x.bmp", bmp_bytes(random_image(8, 8, 1)));
  fails("eval model.safetensors --res 64 --data two", {"two", "2", "3"});

  save(w.folder / "bad.jpg", {1, 2, 3});
  fails("classify model.safetensors val/a/0.bmp bad.jpg --res 64", {"bad.jpg"});
  fails("classify model.safetensors val/a/0.bmp --res 64 --classes text.txt",
        {"text.txt", "names 1 classes, the model has 3"});
  fails("quantize model.safetensors --calib empty --out q --method minmax --res 64", {"empty"});
  fails("quantize model.safetensors --calib val --out q --method minmax --res 64 --images 10",
        {"val: has 9 images, 10 are wanted (--images)"});
  for (const char* command :
       {"quantize model.safetensors --method minmax+erq --out q",
        "table --models model.safetensors --data val --bits 8/8 --methods minmax+erq --out q"})
    fails(concat(command, " --calib val --images 2 --res 64 --reconstruct-images 10"),
          {"val: has 9 images, 10 are wanted (--reconstruct-images)"});
  CHECK(!std::filesystem::exists(w.folder / "q"));
}

TEST_CASE("program: output that cannot be written is refused before the work, and nothing is left") {
  fails("quantize model.safetensors --calib val --out nowhere/q --method minmax --res 64",
        {"nowhere/q", "cannot be written"});
  fails("eval model.safetensors --data val --res 64 --json nowhere/r.json",
        {"nowhere/r.json", "cannot be written"});
  for (const auto& entry : std::filesystem::directory_iterator(workplace().folder.path()))
    CHECK(entry.path().string().find(".tmp-") == std::string::npos);
}

TEST_CASE("program: synthetic images by name and as files are the same") {
  const Workplace& w = workplace();
  write_generated_checkpoint(w.folder / "model21.safetensors", 21, 32);

  const json synth = w.result("synth --out synth --split calib --count 25");
  CHECK(synth.at("images") == 25);
  CHECK(synth.at("classes") == 21);
  CHECK(synth.contains("seconds"));
  CHECK(decode_image(w.folder / "synth/03_square_stripes/0000024.png").rgb ==
        load_image("synthetic:calib#24").rgb);
  const std::string options = " --res 32 --crop-pct 1";
  const json files = w.result("eval model21.safetensors --data synth" + options);
  const json names = w.result("eval model21.safetensors --data synthetic:calib:25" + options);
  for (const char* key : {"images", "top1", "top5"}) CHECK(files.at(key) == names.at(key));
  const auto top = [&](const std::string& image) {
    return w.result("classify model21.safetensors " + image + options).at("predictions")[0].at("top");
  };
  CHECK(top("synth/03_square_stripes/0000024.png") == top("'synthetic:calib#24'"));

  const std::string quantize = "quantize model21.safetensors --out q21 --method minmax --images 5 --calib ";
  CHECK(w.run(quantize + "synth" + options).code == 0);
  const std::string from_files = text_of(w.folder / "q21");
  CHECK(w.run(quantize + "synthetic:calib:25" + options).code == 0);
  CHECK(text_of(w.folder / "q21") == from_files);

  fails("synth --out synth --count 1", {"synth: is not empty"});
  fails("synth --out names.txt --count 1", {"names.txt: is not a folder"});
  fails("synth --out names.txt/below --count 1", {"names.txt/below: cannot be written"});
  fails("synth --out other --split dev", {"synthetic:dev", "train, calib, val, test"});
  CHECK(!std::filesystem::exists(w.folder / "other"));
  is_wrong_usage("synth --out other --count 0", "--count");
  fails("eval model21.safetensors --res 32 --data synthetic:val:0", {"synthetic:val:0: the count 0"});
  fails("classify model21.safetensors --res 32 synthetic:val", {"synthetic:val: is not an image"});
}

TEST_CASE("program: eval skips, counts and lists images that do not decode") {
  const Workplace& w = workplace();
  std::filesystem::copy(w.folder / "val", w.folder / "damaged", std::filesystem::copy_options::recursive);
  save(w.folder / "damaged/b/1.bmp", {'B', 'M', 0});
  save(w.folder / "damaged/c/new.jpg", {});
  const Outcome o = w.run("eval model.safetensors --data damaged --res 64 --json damaged.json");
  CHECK(o.code == 0);
  CHECK(o.err.find("skipped damaged/b/1.bmp: ") != std::string::npos);
  const json result = json::parse(text_of(w.folder / "damaged.json"));
  CHECK(result.at("images") == 8);
  REQUIRE(result.at("skipped").size() == 2);
  CHECK(result.at("skipped")[0].at("image") == "damaged/b/1.bmp");
  // In a batch the readable images close up.
  const json together = w.result("eval model.safetensors --data damaged --res 64 --batch 4");
  for (const char* field : {"images", "top1", "top5", "skipped"})
    CHECK(together.at(field) == result.at(field));

  std::filesystem::create_directories(w.folder / "ruined");
  for (const char* name : {"a", "b", "c"}) {
    std::filesystem::create_directories(w.folder / ("ruined/" + std::string(name)));
    save(w.folder / concat("ruined/", name, "/x.png"), {0});
  }
  const Outcome none = w.run("eval model.safetensors --data ruined --res 64");
  CHECK(none.code == 1);
  CHECK(none.err.find("none of its 3 images could be read") != std::string::npos);
}
