// What is read of a comparison: means by hand, the tables to the letter, and a picture that holds what it
// should.
#include <algorithm>
#include <doctest/doctest.h>

#include "experiments/evaluate.h"
#include "experiments/means.h"
#include "experiments/table_plot.h"
#include "experiments/table_report.h"
#include "tests/program.h"

using namespace qhv;
using namespace qhv::test;
using nlohmann::json;

namespace {

TableRow float_row(const std::string& model, double top1) {
  return {{model, kFloatMethod}, "arch", "float32", top1, 1, 1, top1, 4000000, 8, 0, "data=x:9"};
}

/// Of a model whose float top-1 is `fp32`; the agreement is 0.25 above the top-1.
TableRow row(const std::string& model, const std::string& method, int bits, std::uint64_t seed, double top1,
             double fp32, double seconds = 2) {
  return {{model, method, bits, bits, false, seed},
          "arch",
          "fake-quant",
          top1,
          1,
          top1 + 0.25,
          fp32,
          1000000,
          4,
          seconds,
          "calib=c:4 data=x:9"};
}

/// Two models, all numbers exact in binary. `q` has two seeds at 8 bits; at 4 bits model b lacks seed 1.
const std::vector<TableRow> kRows{
    float_row("d/a.pt", 0.75),
    row("d/a.pt", "q", 8, 0, 0.5, 0.75, 1),
    row("d/a.pt", "q", 8, 1, 0.625, 0.75, 2),
    row("d/a.pt", "q", 4, 0, 0.25, 0.75),
    row("d/a.pt", "q", 4, 1, 0.125, 0.75),
    row("d/a.pt", "only", 8, 0, 0.5, 0.75),
    float_row("d/b.pt", 0.5),
    row("d/b.pt", "q", 8, 0, 0.375, 0.5, 4),
    row("d/b.pt", "q", 8, 1, 0.5, 0.5, 5),
    row("d/b.pt", "q", 4, 0, 0.25, 0.5),
};

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

}  // namespace

TEST_CASE("means: over seeds, by hand") {
  const std::vector<Mean> means = means_over_seeds(kRows);
  REQUIRE(means.size() == 7);
  CHECK(means[0].key == TableKey{"d/a.pt", kFloatMethod});
  CHECK(means[0].is_float());
  CHECK(means[0].count == 1);
  CHECK(means[0].change() == 0);

  const Mean& q8 = means[1];
  CHECK(q8.key == TableKey{"d/a.pt", "q", 8, 8});
  CHECK(q8.count == 2);
  CHECK(q8.top1 == 0.5625);
  CHECK(q8.lowest == 0.5);
  CHECK(q8.highest == 0.625);
  CHECK(q8.agreement == 0.8125);
  CHECK(q8.fp32_top1 == 0.75);
  CHECK(q8.change() == -0.1875);
  CHECK(q8.bytes == 1e6);
  CHECK(q8.latency_ms == 4);
  CHECK(q8.seconds == 1.5);

  CHECK(means[2].top1 == 0.1875);  // a, 4 bits
  CHECK(means[6].top1 == 0.25);    // b, 4 bits, of one seed
  CHECK(means[6].lowest == 0.25);
  CHECK(means[6].highest == 0.25);
  CHECK(means_over_seeds({}).empty());

  std::vector<TableRow> scopes{kRows[1], kRows[1]};
  scopes[1].key.full = true;
  CHECK(means_over_seeds(scopes).size() == 2);
}

TEST_CASE("means: over models, of what all of them have") {
  const std::vector<MeanOverModels> means = means_over_models(kRows);
  REQUIRE(means.size() == 3);  // float32, q at 8, q at 4 bits; "only" is not in b
  CHECK(means[0].mean.is_float());
  CHECK(means[0].mean.top1 == 0.625);
  CHECK(means[0].worst_change == 0);

  const MeanOverModels& q8 = means[1];
  CHECK(q8.models == 2);
  CHECK(q8.mean.key == TableKey{"", "q", 8, 8});
  CHECK(q8.mean.count == 2);
  CHECK(q8.mean.top1 == 0.5);       // (0.5625 + 0.4375) / 2
  CHECK(q8.mean.lowest == 0.4375);  // seed 0: (0.5 + 0.375) / 2
  CHECK(q8.mean.highest == 0.5625);
  CHECK(q8.mean.fp32_top1 == 0.625);
  CHECK(q8.mean.change() == -0.125);
  CHECK(q8.mean.agreement == 0.75);
  CHECK(q8.mean.seconds == 3);
  CHECK(q8.worst_change == -0.1875);  // a: 0.5625 - 0.75; b: 0.4375 - 0.5
  CHECK(q8.worst_model == "d/a.pt");

  const MeanOverModels& q4 = means[2];
  CHECK(q4.mean.count == 1);  // seed 0; b has no seed 1
  CHECK(q4.mean.top1 == 0.25);
  CHECK(q4.worst_change == -0.5);  // a at seed 0 alone
  CHECK(means_over_models({}).empty());
}

TEST_CASE("report: the tables, to the letter") {
  CHECK(
      markdown_report(kRows) ==
      "| model | method | W/A | top-1 | lowest .. highest | float32 | change, points | agreement | size, MB "
      "| latency, ms | quantised in, s |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|\n"
      "| a.pt | float32 | 32/32 | 0.7500 | | 0.7500 | | | 4.00 | 8.0 | |\n"
      "| a.pt | q | 8/8 | 0.5625 | 0.5000 .. 0.6250 | 0.7500 | -18.75 | 0.8125 | 1.00 | 4.0 | 1.5 |\n"
      "| a.pt | q | 4/4 | 0.1875 | 0.1250 .. 0.2500 | 0.7500 | -56.25 | 0.4375 | 1.00 | 4.0 | 2.0 |\n"
      "| a.pt | only | 8/8 | 0.5000 | | 0.7500 | -25.00 | 0.7500 | 1.00 | 4.0 | 2.0 |\n"
      "| b.pt | float32 | 32/32 | 0.5000 | | 0.5000 | | | 4.00 | 8.0 | |\n"
      "| b.pt | q | 8/8 | 0.4375 | 0.3750 .. 0.5000 | 0.5000 | -6.25 | 0.6875 | 1.00 | 4.0 | 4.5 |\n"
      "| b.pt | q | 4/4 | 0.2500 | | 0.5000 | -25.00 | 0.5000 | 1.00 | 4.0 | 2.0 |\n"
      "\n"
      "| mean over models | W/A | top-1 | lowest .. highest | change, points | agreement | worst change | "
      "worst model | quantised in, s |\n"
      "|---|---|---|---|---|---|---|---|---|\n"
      "| float32 | 32/32 | 0.6250 | | | | | | |\n"
      "| q | 8/8 | 0.5000 | 0.4375 .. 0.5625 | -12.50 | 0.7500 | -18.75 | a.pt | 3.0 |\n"
      "| q | 4/4 | 0.2500 | | -37.50 | 0.5000 | -50.00 | a.pt | 2.0 |\n"
      "\n"
      "Means over calibration seeds 0, 1.\n"
      "Settings: `calib=c:4 data=x:9`\n");
}

TEST_CASE("report: one model and one seed have no spread and no mean over models") {
  std::vector<TableRow> rows(kRows.begin(), kRows.begin() + 2);
  rows[1].key.full = true;
  const std::string text = markdown_report(rows);
  CHECK(text.find("lowest") == std::string::npos);
  CHECK(text.find("mean over") == std::string::npos);
  CHECK(text.find("| a.pt | q | 8/8 full | 0.5000 | 0.7500 | -25.00 | 0.7500 |") != std::string::npos);
  CHECK(text.find("\nCalibration seed 0.\n") != std::string::npos);
}

TEST_CASE("report: JSON") {
  const json result = report_json(kRows);
  REQUIRE(result.at("rows").size() == kRows.size());
  CHECK(result.at("rows")[2].at("seed") == 1);
  CHECK(result.at("rows")[2].at("scope") == "partial");
  REQUIRE(result.at("means").size() == 7);
  CHECK(result.at("means")[1] == json{{"model", "d/a.pt"},
                                      {"method", "q"},
                                      {"wbits", 8},
                                      {"abits", 8},
                                      {"scope", "partial"},
                                      {"seeds", 2},
                                      {"top1", 0.5625},
                                      {"lowest", 0.5},
                                      {"highest", 0.625},
                                      {"agreement", 0.8125},
                                      {"fp32_top1", 0.75},
                                      {"change", -0.1875},
                                      {"bytes", 1e6},
                                      {"latency_ms", 4.0},
                                      {"seconds", 1.5}});
  REQUIRE(result.at("over_models").size() == 3);
  CHECK(result.at("over_models")[1].at("models") == 2);
  CHECK(result.at("over_models")[1].at("worst_change") == -0.1875);
  CHECK(result.at("over_models")[1].at("worst_model") == "d/a.pt");
  CHECK_FALSE(result.at("over_models")[1].contains("model"));
}

TEST_CASE("plot: a panel for each model and their mean, with all methods") {
  const TemporaryFolder folder;
  const auto svg = [&](std::span<const TableRow> rows) {
    write_table_svg(folder / "t.svg", rows);
    return text_of(folder / "t.svg");
  };
  const std::string all = svg(kRows);
  CHECK(all.starts_with("<?xml"));
  for (const char* text : {"a.pt", "b.pt", "mean over 2 models", "only", "float32", "8/8", "4/4",
                           "Means over 2 calibration seeds", "Triangles: more than 20 points below float32"})
    CHECK_MESSAGE(all.find(text) != std::string::npos, text);
  CHECK(count_of(all, ">8/8<") == 3);

  const std::string one = svg(std::span(kRows).first(2));
  CHECK(count_of(one, ">8/8<") == 1);
  CHECK(one.find("mean over") == std::string::npos);
  CHECK(one.find("calibration seeds") == std::string::npos);
  const std::vector<TableRow> near{float_row("m", 0.75), row("m", "it's <a_b>", 8, 0, 0.75, 0.75)};
  const std::string flat = svg(near);  // no extent in y
  CHECK(flat.find("it's &lt;a_b>") != std::string::npos);
  CHECK(flat.find("Triangles") == std::string::npos);
  CHECK(error_of([&] { svg(std::span(kRows).first(1)); }) ==
        "invalid_argument: [table] no quantised row to draw among 1");
}

TEST_CASE("agreement: by hand") {
  const std::vector<Prediction> predictions{
      {"a", {3, 1}, {}, ""}, {"b", {}, {}, "unreadable"}, {"c", {0}, {}, ""}};
  CHECK(best_classes(predictions) == std::vector<int>{3, -1, 0});
  CHECK(agreement({3, 1, 0, 2}, {3, 1, 0, 2}) == 1);
  CHECK(agreement({3, 1, 0, 2}, {3, 0, 0, 1}) == 0.5);
  CHECK(agreement({3, -1, 0, 2}, {3, -1, 1, 1}) == 1.0 / 3);
  CHECK(agreement({-1}, {-1}) == 0);
}
