// qhyvit table: the rows that it writes, how it goes on where it stopped, and what it refuses. The checkpoint
// has generated weights and the images are synthetic.
#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "data/dataset.h"
#include "quant/methods/methods.h"
#include "tests/program.h"

using namespace qhv;
using namespace qhv::test;
using nlohmann::json;

namespace {

constexpr const char* kHeader =
    "model,arch,engine,method,wbits,abits,scope,seed,top1,top5,agreement,fp32_top1,bytes,latency_ms,seconds,"
    "settings";
enum Column { kMethod = 3, kScope = 6, kSeed, kTop1, kTop5, kAgreement, kFp32Top1, kBytes, kSettings = 15 };
const std::string kCommand =
    "table --models m.safetensors --calib synthetic:calib:21 --data synthetic:val:21 --images 4 --res 32 "
    "--crop-pct 1 ";

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

/// The lines of t.csv below its header, as fields.
std::vector<std::vector<std::string>> rows_of(const TemporaryFolder& folder) {
  const std::vector<std::string> lines = split(text_of(folder / "t.csv"), '\n');
  REQUIRE(!lines.empty());
  CHECK(lines[0] == kHeader);
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    rows.push_back(split(lines[i], ','));
    REQUIRE(rows.back().size() == 16);
  }
  return rows;
}

}  // namespace

TEST_CASE("table: rows as eval and quantize would give them, in CSV and JSON") {
  const ProgramFolder place;
  const TemporaryFolder& folder = place.folder;
  write_generated_checkpoint(folder / "m.safetensors", 21, 32);
  const json result = place.result(concat(kCommand, "--methods minmax --bits 8/8,2/3 --seed 5 --out t.csv"));
  const auto rows = rows_of(folder);
  const std::vector<std::vector<std::string>> expected{
      {"m.safetensors", "mobilevit_xxs", "float32", "float32", "32", "32", "partial", "0"},
      {"m.safetensors", "mobilevit_xxs", "fake-quant", "minmax", "8", "8", "partial", "5"},
      {"m.safetensors", "mobilevit_xxs", "fake-quant", "minmax", "2", "3", "partial", "5"}};
  REQUIRE(rows.size() == 3);
  REQUIRE(result.at("rows").size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const json& row = result.at("rows")[i];
    CHECK(std::equal(expected[i].begin(), expected[i].end(), rows[i].begin()));
    CHECK(row.at("method") == rows[i][kMethod]);
    CHECK(row.at("seed") == std::stoi(rows[i][kSeed]));
    CHECK(row.at("top1") == std::stod(rows[i][kTop1]));
    CHECK(row.at("agreement") == std::stod(rows[i][kAgreement]));
    CHECK(row.at("fp32_top1") == std::stod(rows[0][kTop1]));
    CHECK(row.at("latency_ms").get<double>() > 0);
    CHECK((row.at("seconds").get<double>() > 0) == (i > 0));
    CHECK(row.at("settings") == rows[i][kSettings]);
  }
  CHECK(result.at("rows")[0].at("bytes") == std::filesystem::file_size(folder / "m.safetensors"));
  const std::string images =
      "data=synthetic:val:21:21 res=32 resize=32 interpolation=bicubic mean=0/0/0 std=1/1/1 bgr=no";
  CHECK(rows[0][kSettings] == images);
  CHECK(rows[1][kSettings] == "calib=synthetic:calib:21:4 signal=default search=fast " + images);

  const std::string calib = " --calib synthetic:calib:21 --images 4 --res 32 --crop-pct 1 --seed 5";
  REQUIRE(place.run("quantize m.safetensors --out q --method minmax --wbits 2 --abits 3" + calib).code == 0);
  const json eval = place.result("eval q --data synthetic:val:21");
  const json& last = result.at("rows")[2];
  CHECK(last.at("top1") == eval.at("top1"));
  CHECK(last.at("top5") == eval.at("top5"));
  CHECK(last.at("bytes") == std::filesystem::file_size(folder / "q"));
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    CHECK(entry.path().string().find("t.csv.") == std::string::npos);  // no temporary file
}

TEST_CASE("table: agreement is the share of images with the float network's best class") {
  const ProgramFolder place;
  write_generated_checkpoint(place.folder / "m.safetensors", 21, 32);
  const std::string calib = " --calib synthetic:calib:21 --images 4 --res 32 --crop-pct 1";
  REQUIRE(place.run("quantize m.safetensors --out q --method minmax --wbits 2 --abits 3" + calib).code == 0);
  std::string images;
  for (const std::string& image : list_images("synthetic:val:21")) images += concat(" '", image, "'");
  const json a = place.result("classify m.safetensors --top 1 --res 32 --crop-pct 1" + images),
             b = place.result("classify q --top 1" + images);
  int equal = 0;
  for (std::size_t i = 0; i < 21; ++i) {
    const auto best = [&](const json& result) {
      return result.at("predictions")[i].at("top")[0].at("index");
    };
    equal += best(a) == best(b);
  }
  REQUIRE(equal > 0);
  REQUIRE(equal < 21);

  const std::string command = concat(kCommand, "--methods minmax --bits 2/3 --out t.csv");
  const json computed = place.result(command);
  CHECK(computed.at("rows")[0].at("agreement") == 1);
  CHECK(computed.at("rows")[1].at("agreement") == equal / 21.0);

  // With the float row from the file, the float network's classes have to be computed again.
  const std::vector<std::string> lines = split(text_of(place.folder / "t.csv"), '\n');
  std::ofstream(place.folder / "t.csv") << lines[0] << "\n" << lines[1] << "\n";
  CHECK(place.result(command).at("rows")[1].at("agreement") == equal / 21.0);
}

TEST_CASE("table: rows of the file are kept, missing ones are computed") {
  const ProgramFolder place;
  const TemporaryFolder& folder = place.folder;
  write_generated_checkpoint(folder / "m.safetensors", 21, 32);
  const std::string command = concat(kCommand, "--methods minmax,percentile --bits 8/8 --out t.csv");
  REQUIRE(place.run(command).code == 0);
  const auto before = rows_of(folder);
  REQUIRE(before.size() == 3);

  // The row of min-max is gone; that of percentile has another top-1, and one of another model is there.
  std::vector<std::string> lines = split(text_of(folder / "t.csv"), '\n');
  lines[3].replace(lines[3].find(",partial,0,") + 11, before[2][kTop1].size(), "0.123");
  const std::string other =
      "gone.pt,mobilevit_s,float32,float32,32,32,partial,0,0.5,1,1,0.5,1000,2.5,0,data=x:1";
  std::ofstream(folder / "t.csv") << lines[0] << "\n"
                                  << lines[1] << "\n"
                                  << lines[3] << "\n"
                                  << other << "\n";
  const json result = place.result(command);
  const std::string text = text_of(folder / "t.csv");
  CHECK(text.starts_with(concat(lines[0], "\n", lines[1], "\n", lines[3], "\n", other, "\n")));

  auto after = rows_of(folder);
  REQUIRE(after.size() == 4);
  auto minmax = before[1];
  after[3].resize(kBytes), minmax.resize(kBytes);  // all but times
  CHECK(after[3] == minmax);
  REQUIRE(result.at("rows").size() == 3);  // those that were asked for, in the order of the question
  CHECK(result.at("rows")[1].at("method") == "minmax");
  CHECK(result.at("rows")[2].at("top1") == 0.123);
}

TEST_CASE("table: more seeds only cost their own rows; means in Markdown and JSON, and a picture") {
  const ProgramFolder place;
  const TemporaryFolder& folder = place.folder;
  write_generated_checkpoint(folder / "m.safetensors", 21, 32);
  const std::string command =
      concat(kCommand, "--methods minmax,omse --bits 4/4,4/4,8/8 --seed 7 --out t.csv");
  REQUIRE(place.run(command).code == 0);
  const std::string one_seed = text_of(folder / "t.csv");
  REQUIRE(rows_of(folder).size() == 1 + 4);

  const json result = place.result(command + " --seeds 3 --plot t.svg --markdown t.md");
  CHECK(text_of(folder / "t.csv").starts_with(one_seed));
  CHECK(rows_of(folder).size() == 1 + 4 * 3);
  const json& rows = result.at("rows");
  REQUIRE(rows.size() == 1 + 4 * 3);
  for (int i = 0; i < 3; ++i) {
    CHECK(rows[std::size_t(1 + i)].at("seed") == 7 + i);
    CHECK(rows[std::size_t(1 + i)].at("wbits") == 4);
  }
  REQUIRE(result.at("means").size() == 1 + 4);
  const json& mean = result.at("means")[1];
  CHECK(mean.at("seeds") == 3);
  const double sum =
      rows[1].at("top1").get<double>() + rows[2].at("top1").get<double>() + rows[3].at("top1").get<double>();
  CHECK(mean.at("top1").get<double>() == sum / 3);
  // Another draw of calibration images, another network.
  CHECK(rows[1].at("settings") == rows[2].at("settings"));
  CHECK_FALSE(rows[1].at("agreement") == rows[2].at("agreement"));

  const Outcome again = place.run(command + " --seeds 3");
  CHECK(again.out == text_of(folder / "t.md"));
  CHECK(again.out.find("\n| m.safetensors | omse | 8/8 | ") != std::string::npos);
  CHECK(again.out.find("Means over calibration seeds 7, 8, 9.") != std::string::npos);
  CHECK(again.err.find("W4A4, seed 8: top-1") != std::string::npos);
  for (const char* text : {"<svg", "m.safetensors", "minmax", "omse", "8/8", "float32"})
    CHECK_MESSAGE(text_of(folder / "t.svg").find(text) != std::string::npos, text);
}

TEST_CASE("table: all methods by default, and those of the ablation by one word") {
  const ProgramFolder place;
  write_generated_checkpoint(place.folder / "m.safetensors", 21, 32);
  const std::string command = concat(kCommand, "--bits 8/8 --out t.csv");
  REQUIRE(place.run(command + " --methods minmax").code == 0);
  // Every row stands in the file already: nothing is computed.
  const std::vector<std::string> lines = split(text_of(place.folder / "t.csv"), '\n');
  std::ofstream file(place.folder / "t.csv");
  file << lines[0] << "\n" << lines[1] << "\n";
  std::vector<std::string> usual, ablation;
  for (const Method& method : methods()) {
    std::string line = lines[2];
    file << line.replace(line.find("minmax"), 6, method.name) << "\n";
    (method.ablation ? ablation : usual).push_back(method.name);
  }
  file.close();
  ablation.push_back("qhyvit");
  const auto methods_of = [&](const std::string& options) {
    std::vector<std::string> names;
    const json result = place.result(command + options);
    for (const json& row : result.at("rows")) names.push_back(row.at("method"));
    names.erase(names.begin());  // float32
    return names;
  };
  CHECK(methods_of("") == usual);
  CHECK(methods_of(" --methods ablation") == ablation);
  CHECK(methods_of(" --methods qhyvit,ablation").front() == "qhyvit");
  CHECK(methods_of(" --methods qhyvit,ablation").size() == ablation.size());
}

TEST_CASE("table: a full network is another row than a partial one") {
  const ProgramFolder place;
  write_generated_checkpoint(place.folder / "m.safetensors", 21, 32);
  const std::string command = concat(kCommand, "--methods minmax --bits 8/8 --out t.csv");
  REQUIRE(place.run(command).code == 0);
  const json result = place.result(command + " --full");
  CHECK(result.at("rows")[1].at("scope") == "full");
  CHECK(result.at("rows")[0].at("scope") == "partial");
  const auto rows = rows_of(place.folder);
  REQUIRE(rows.size() == 3);
  CHECK(rows[1][kScope] == "partial");
  CHECK(rows[2][kScope] == "full");
  CHECK(std::stoi(rows[2][kBytes]) > std::stoi(rows[1][kBytes]));  // more of a plan

  // By the integer engine it is a row of other settings, of another file.
  place.fails("--engine int8 " + command + " --full", {"t.csv: line 4", "engine=int8"});
  const std::string other = concat("--engine int8 ", kCommand, "--methods minmax --bits 8/8 --out i.csv");
  const json integers = place.result(other + " --full").at("rows");
  CHECK(integers[1].at("engine") == "int8");
  place.is_wrong_usage(other, "--engine");
}

TEST_CASE("table: rows of other settings are refused and left as they are") {
  const ProgramFolder place;
  write_generated_checkpoint(place.folder / "m.safetensors", 21, 32);
  const std::string images = "table --models m.safetensors --calib synthetic:calib:21 --res 32 --crop-pct 1 ",
                    work = "--methods minmax --bits 8/8 --out t.csv ";
  REQUIRE(place.run(images + "--data synthetic:val:21 --images 4 " + work).code == 0);
  const std::string text = text_of(place.folder / "t.csv");
  const auto refuses = [&](const std::string& options, const std::vector<std::string>& words) {
    place.fails(images + work + options, words);
    CHECK(text_of(place.folder / "t.csv") == text);
  };
  refuses("--data synthetic:val:21 --images 5",
          {"t.csv: line 3: ", "\"calib=synthetic:calib:21:4 signal", "\"calib=synthetic:calib:21:5 signal"});
  refuses("--data synthetic:val:21 --images 4 --search plain", {"line 3: ", "search=fast", "search=plain"});
  refuses("--data synthetic:val:21 --images 4 --signal fisher", {"line 3: ", "signal=fisher"});
  refuses("--data synthetic:val:21 --images 4 --limit 20", {"line 2: ", "val:21:21 res", "val:21:20 res"});
  refuses("--data synthetic:val:42 --images 4", {"line 2: ", "data=synthetic:val:42:42"});
  refuses("--data synthetic:val:21 --images 4 --bgr", {"line 2: ", "bgr=no", "bgr=yes"});
  refuses("--data synthetic:val:21 --images 4 --mean 0.5 0 0", {"line 2: ", "mean=0/0/0", "mean=0.5/0/0"});
}

TEST_CASE("table: a file that is not its own is refused and left as it is") {
  const ProgramFolder place;
  const TemporaryFolder& folder = place.folder;
  write_generated_checkpoint(folder / "m.safetensors", 21, 32);
  const std::string good = "m,a,float32,float32,32,32,partial,0,0.5,1,1,0.5,1000,2.5,0,data=x:1";
  const auto refuses = [&](const std::string& text, const std::string& words) {
    std::ofstream(folder / "t.csv") << text;
    const Outcome o = place.run(concat(kCommand, "--bits 8/8 --out t.csv"));
    INFO(text << "\n" << o.err);
    CHECK(o.code == 1);
    CHECK(o.err.starts_with("qhyvit: t.csv: " + words));
    CHECK(std::count(o.err.begin(), o.err.end(), '\n') == 1);
    CHECK(text_of(folder / "t.csv") == text);
  };
  const auto refuses_line = [&](const std::string& line, const std::string& words) {
    refuses(concat(kHeader, "\n", good, "\n", line, "\n"), "line 3: " + words);
  };
  const std::string start = "m,a,fake-quant,minmax,8,8,";
  refuses("", "line 1: is \"\", not the header");
  refuses("epoch,step\n1,2\n", "line 1: is \"epoch,step\", not the header model,arch");
  refuses("model,arch,engine,method,wbits,abits,top1,top5,fp32_top1,bytes,latency_ms,seconds\n",
          "line 1: is \"model,arch,engine,method,wbits,abits,top1");  // of an earlier version
  refuses_line("m,a,float32", "has 3 fields, not 16");
  refuses_line("", "has 1 fields, not 16");
  refuses_line(start + "partial,0,0.5,1,1,0.5,1000,2.5,0,s,", "has 17 fields, not 16");
  refuses_line(",a,fake-quant,minmax,8,8,partial,0,0.5,1,1,0.5,1000,2.5,0,s", "model \"\" is not a name");
  refuses_line("m,a,fake-quant,minmax,8,8.5,partial,0,0.5,1,1,0.5,1000,2.5,0,s",
               "abits \"8.5\" is not a number");
  refuses_line(start + "all,0,0.5,1,1,0.5,1000,2.5,0,s", "scope \"all\" is neither partial nor full");
  refuses_line(start + "full,-1,0.5,1,1,0.5,1000,2.5,0,s", "seed \"-1\" is not a number in its range");
  refuses_line(start + "full,0,50,1,1,0.5,1000,2.5,0,s", "top1 \"50\" is not a number in its range");
  refuses_line(start + "full,0,0.5,1,2,0.5,1000,2.5,0,s", "agreement \"2\" is not a number in its range");
  refuses_line(start + "full,0,0.5,1,1,nan,1000,2.5,0,s", "fp32_top1 \"nan\" is not");
  refuses_line(start + "full,0,0.5,1,1,0.5,-1,2.5,0,s", "bytes \"-1\" is not");
  refuses_line(start + "full,0,0.5,1,1,0.5,1000,2.5,0,s\r", "settings \"s\\x0d\" is not");
  refuses_line(good, "is about the same as line 2");
}

TEST_CASE("table: wrong usage, and what cannot be compared") {
  const ProgramFolder place;
  const TemporaryFolder& folder = place.folder;
  write_generated_checkpoint(folder / "m.safetensors", 21, 32);
  write_generated_checkpoint(folder / "m3.safetensors", 3, 32);
  for (const Method& method : methods())
    place.is_wrong_usage(kCommand + "--bits 8/8 --out t.csv --methods minmax,magic", method.name);
  place.is_wrong_usage(kCommand + "--bits 8/8 --out t.csv --methods minmax,magic", "magic");
  place.is_wrong_usage(kCommand + "--out t.csv", "--bits");
  place.is_wrong_usage(kCommand + "--bits 8/8", "--out");
  place.is_wrong_usage(kCommand + "--bits 8/8 --out t.csv --engine float32", "--engine");
  for (const char* bits : {"8", "8/", "8/9", "1/8", "8/8/8", "8/8,x", "88/8", "-8/8"})
    place.is_wrong_usage(concat(kCommand, "--out t.csv --bits=", bits), "is not W/A with 2 to 8 or 16 bits");
  place.is_wrong_usage(kCommand + "--bits 8/8 --out t.csv --models m.safetensors a,b",
                       "cannot stand in a CSV file");
  place.is_wrong_usage(kCommand + "--bits 8/8 --out t.csv --seeds 0", "--seeds");
  place.is_wrong_usage(
      "table --models m.safetensors --calib a,b --data synthetic:val:21 --bits 8/8 --out t.csv",
      "--calib: \"a,b\" cannot stand");

  const auto fails = [&](const std::string& model, const std::string& words) {
    const Outcome o = place.run(concat(kCommand, model, " --bits 8/8 --out t.csv"));
    INFO(o.err);
    CHECK(o.code == 1);
    CHECK(o.err.find(words) != std::string::npos);
  };
  fails("--models missing.safetensors", "missing.safetensors: ");
  fails("--models m3.safetensors", "synthetic:val:21");
  REQUIRE(place
              .run("quantize m.safetensors --calib synthetic:calib:21 --images 2 --out q --method minmax "
                   "--res 32")
              .code == 0);
  fails("--models q", "q: is quantised already");
  fails("--models m.safetensors --plot none/t.svg", "none/t.svg");
  fails("--models m.safetensors --markdown none/t.md", "none/t.md");
  CHECK(!std::filesystem::exists(folder / "t.csv"));
}
