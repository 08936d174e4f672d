// The record of training: the exact text of the table, and a picture that holds what it should.
#include <cmath>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>

#include "experiments/curve.h"
#include "experiments/gnuplot.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;

namespace {

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

const std::vector<CurvePoint> kPoints{
    {1, 10, 0.002, 2.5, 0.1, {}, {}},
    {2, 20, 1e-7, 1.0 / 3, {}, 0.5, 0.75},
    {3, 30, 0, std::nan(""), 0.25, 1e30, 1},
};

}  // namespace

TEST_CASE("curve: the table, to the letter") {
  const TemporaryFolder folder;
  write_curve_csv(folder / "c.csv", kPoints);
  CHECK(text_of(folder / "c.csv") ==
        "epoch,step,lr,train_loss,train_top1,val_loss,val_top1\n"
        "1,10,0.002,2.5,0.1,,\n"
        "2,20,1e-07,0.3333333333333333,,0.5,0.75\n"
        "3,30,0,nan,0.25,1e+30,1\n");
  write_curve_csv(folder / "c.csv", {});
  CHECK(text_of(folder / "c.csv") == "epoch,step,lr,train_loss,train_top1,val_loss,val_top1\n");
  CHECK(error_of([&] { write_curve_csv(folder / "none/c.csv", kPoints); }).find("none/c.csv: cannot be") !=
        std::string::npos);
}

TEST_CASE("curve: the picture has its titles and the lines that were measured") {
  const TemporaryFolder folder;
  const auto svg = [&](const std::string& title, std::span<const CurvePoint> points) {
    write_curve_svg(folder / "c.svg", title, points);
    return text_of(folder / "c.svg");
  };
  const std::string all = svg("it's <a_b> & `c`\n\"d\" {e}", kPoints);
  CHECK(all.starts_with("<?xml"));
  CHECK(all.ends_with("</svg>\n\n"));
  CHECK(count_of(all, "it's &lt;a_b> &amp; `c` \"d\" {e}") >= 1);
  for (const char* text : {"epoch", "loss (cross entropy)", "top-1 accuracy", "training loss",
                           "validation loss", "training top-1", "validation top-1"})
    CHECK_MESSAGE(all.find(text) != std::string::npos, text);

  const std::vector<CurvePoint> losses{{1, 1, 0.1, 3, {}, {}, {}}, {2, 2, 0.1, 2, {}, std::nan(""), {}}};
  const std::string some = svg("losses", losses);
  CHECK(some.find("training loss") != std::string::npos);
  CHECK(some.find("validation loss") == std::string::npos);
  CHECK(some.find("training top-1") == std::string::npos);
  const std::vector<CurvePoint> gaps{{1, 1, 0.1, 3, {}, {}, 0.5}, {2, 2, 0.1, 2, {}, {}, 0.6}};
  CHECK(count_of(svg("gaps", gaps), ")' color='rgb(253") == 2 + 1);  // its points, and one in the legend
  CHECK(svg("one", std::span(losses).first(1)).find("training loss") != std::string::npos);
  CHECK(error_of([&] { svg("nothing", {}); }) ==
        "invalid_argument: [curve] none of the 0 points has a finite value to draw");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);  // nothing left behind
}

TEST_CASE("curve: gnuplot's errors, and its absence") {
  require_gnuplot();
  CHECK(run_gnuplot("set print '-'\nprint 2.5 + 1\n") == "3.5\n");
  const std::string refused = error_of([] { run_gnuplot("plot nothing\n"); });
  CHECK(refused.starts_with("runtime_error: gnuplot: failed: "));
  CHECK(refused.find("undefined variable: nothing") != std::string::npos);

  const TemporaryFolder empty;
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", empty.path().c_str(), 1);
  const std::string missing = error_of(require_gnuplot);
  ::setenv("PATH", path.c_str(), 1);
  CHECK(missing ==
        "runtime_error: gnuplot: cannot be started (No such file or directory); Debian's package is "
        "gnuplot-nox");
}
