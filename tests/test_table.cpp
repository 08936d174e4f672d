// qhyvit table: the rows that it writes, how it goes on where it stopped, and what it refuses. The checkpoint
// has generated weights and the images are synthetic.
#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "quant/methods/methods.h"
#include "tests/program.h"

using namespace qhv;
using namespace qhv::test;
using nlohmann::json;

namespace {

constexpr const char* kHeader =
    "model,arch,engine,method,wbits,abits,top1,top5,fp32_top1,bytes,latency_ms,seconds";
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
    REQUIRE(rows.back().size() == 12);
  }
  return rows;
}

}  // namespace

TEST_CASE("table: rows as eval and quantize would give them, in CSV, JSON and Markdown") {
  const ProgramFolder place;
  const TemporaryFolder& folder = place.folder;
  write_generated_checkpoint(folder / "m.safetensors", 21, 32);
  const json result = place.result(concat(kCommand, "--methods minmax --bits 8/8,4/6 --out t.csv"));
  const auto rows = rows_of(folder);
  const std::vector<std::vector<std::string>> expected{
      {"m.safetensors", "mobilevit_xxs", "float32", "float32", "32", "32"},
      {"m.safetensors", "mobilevit_xxs", "fake-quant", "minmax", "8", "8"},
      {"m.safetensors", "mobilevit_xxs", "fake-quant", "minmax", "4", "6"}};
  REQUIRE(rows.size() == 3);
  REQUIRE(result.at("rows").size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const json& row = result.at("rows")[i];
    CHECK(std::equal(expected[i].begin(), expected[i].end(), rows[i].begin()));
    CHECK(row.at("method") == rows[i][3]);
    CHECK(row.at("top1") == std::stod(rows[i][6]));
    CHECK(row.at("fp32_top1") == std::stod(rows[0][6]));
    CHECK(row.at("latency_ms").get<double>() > 0);
    CHECK((row.at("seconds").get<double>() > 0) == (i > 0));
  }
  CHECK(result.at("rows")[0].at("bytes") == std::filesystem::file_size(folder / "m.safetensors"));

  const std::string calib = " --calib synthetic:calib:21 --images 4 --res 32 --crop-pct 1";
  REQUIRE(place.run("quantize m.safetensors --out q --method minmax --wbits 4 --abits 6" + calib).code == 0);
  const json eval = place.result("eval q --data synthetic:val:21");
  const json& last = result.at("rows")[2];
  CHECK(last.at("top1") == eval.at("top1"));
  CHECK(last.at("top5") == eval.at("top5"));
  CHECK(last.at("bytes") == std::filesystem::file_size(folder / "q"));

  const Outcome again = place.run(concat(kCommand, "--methods minmax --bits 8/8,4/6 --out t.csv"));
  CHECK(
      again.out.starts_with("| model | method | W/A | top-1 | change | size, MB | latency, ms | quantised"));
  CHECK(again.out.find("\n| m.safetensors | minmax | 4/6 | ") != std::string::npos);
  CHECK(std::count(again.out.begin(), again.out.end(), '\n') == 2 + 3);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    CHECK(entry.path().string().find("t.csv.") == std::string::npos);  // no temporary file
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
  lines[3].replace(lines[3].find(",8,8,") + 5, before[2][6].size(), "0.123");
  const std::string other = "gone.pt,mobilevit_s,float32,float32,32,32,0.5,1,0.5,1000,2.5,0";
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
  after[3].resize(10), minmax.resize(10);  // all but times
  CHECK(after[3] == minmax);
  REQUIRE(result.at("rows").size() == 3);  // those that were asked for, in the order of the question
  CHECK(result.at("rows")[1].at("method") == "minmax");
  CHECK(result.at("rows")[2].at("top1") == 0.123);
}

TEST_CASE("table: a file that is not its own is refused and left as it is") {
  const ProgramFolder place;
  const TemporaryFolder& folder = place.folder;
  write_generated_checkpoint(folder / "m.safetensors", 21, 32);
  const std::string good = "m,a,float32,float32,32,32,0.5,1,0.5,1000,2.5,0";
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
  refuses("", "line 1: is \"\", not the header");
  refuses("epoch,step\n1,2\n", "line 1: is \"epoch,step\", not the header model,arch");
  refuses_line("m,a,float32", "has 3 fields, not 12");
  refuses_line("", "has 1 fields, not 12");
  refuses_line("m,a,fake-quant,minmax,8,8,0.5,1,0.5,1000,2.5,0,", "has 13 fields, not 12");
  refuses_line(",a,fake-quant,minmax,8,8,0.5,1,0.5,1000,2.5,0", "model \"\" is not a name");
  refuses_line("m,a,fake-quant,minmax,8,8.5,0.5,1,0.5,1000,2.5,0", "abits \"8.5\" is not a number");
  refuses_line("m,a,fake-quant,minmax,8,8,50,1,0.5,1000,2.5,0", "top1 \"50\" is not a number in its range");
  refuses_line("m,a,fake-quant,minmax,8,8,0.5,1,nan,1000,2.5,0", "fp32_top1 \"nan\" is not");
  refuses_line("m,a,fake-quant,minmax,8,8,0.5,1,0.5,-1,2.5,0", "bytes \"-1\" is not");
  refuses_line("m,a,fake-quant,minmax,8,8,0.5,1,0.5,1000,2.5,0\r", "seconds \"0\\x0d\" is not");
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
  CHECK(!std::filesystem::exists(folder / "t.csv"));
}
