#include "experiments/curve.h"

#include <cmath>

#include "experiments/gnuplot.h"
#include "experiments/number_text.h"
#include "tensor/check.h"
#include "tensor/file.h"

namespace qhv {
namespace {

std::string number_or(const std::optional<double>& value, const char* if_missing) {
  return value ? number_text(*value) : if_missing;
}

/// A line of the picture. `column` is that of the data block, whose first one is the epoch.
struct Series {
  const char *title, *axes, *style;
  int column;
  std::optional<double> (*value)(const CurvePoint&);
};
constexpr Series kSeries[] = {
    {"training loss", "x1y1", "lc rgb '#1f5fa8' pt 7", 2,
     [](const CurvePoint& p) -> std::optional<double> { return p.train_loss; }},
    {"validation loss", "x1y1", "lc rgb '#6baed6' pt 5", 3, [](const CurvePoint& p) { return p.val_loss; }},
    {"training top-1", "x1y2", "lc rgb '#b8480c' pt 7", 4, [](const CurvePoint& p) { return p.train_top1; }},
    {"validation top-1", "x1y2", "lc rgb '#fd8d3c' pt 5", 5, [](const CurvePoint& p) { return p.val_top1; }},
};

constexpr const char* kFrame =
    "set terminal svg size 900,540 font 'DejaVu Sans,Helvetica,sans-serif,14' background rgb 'white'\n"
    "set datafile missing '?'\n"
    "set border lc rgb '#606060'\n"
    "set grid xtics ytics lc rgb '#dddddd' lt 1 lw 0.7\n"
    "set key outside bottom center horizontal\n"
    "set xlabel 'epoch'\n"
    "set ylabel 'loss (cross entropy)' tc rgb '#1f5fa8'\n"
    "set y2label 'top-1 accuracy' tc rgb '#b8480c'\n"
    "set ytics nomirror\n"
    "set y2tics 0.1\n"
    "set y2range [0:1]\n"
    "set autoscale xfix\n"
    "set yrange [0:*]\n"
    "set offsets graph 0.01, graph 0.01, 0, 0\n";

bool is_drawable(const Series& series, std::span<const CurvePoint> points) {
  for (const CurvePoint& p : points)
    if (const auto value = series.value(p); value && std::isfinite(*value)) return true;
  return false;
}

}  // namespace

void write_curve_csv(const std::string& path, std::span<const CurvePoint> points) {
  std::string text = "epoch,step,lr,train_loss,train_top1,val_loss,val_top1\n";
  for (const CurvePoint& p : points)
    text += number_text(p.epoch) + "," + std::to_string(p.step) + "," + number_text(p.lr) + "," +
            number_text(p.train_loss) + "," + number_or(p.train_top1, "") + "," + number_or(p.val_loss, "") +
            "," + number_or(p.val_top1, "") + "\n";
  write_file(path, text);
}

void write_curve_svg(const std::string& path, const std::string& title, std::span<const CurvePoint> points) {
  std::string data, plots;
  for (const CurvePoint& p : points) {
    data += number_text(p.epoch);
    for (const Series& series : kSeries) data += " " + number_or(series.value(p), "?");
    data += "\n";
  }
  for (const Series& series : kSeries)
    if (is_drawable(series, points))
      plots += concat(plots.empty() ? "plot " : ", ", "$data using 1:", series.column, " axes ", series.axes,
                      " with linespoints lw 2 ps 0.4 ", series.style, " title '", series.title, "'");
  require(!plots.empty(), "curve", "none of the ", points.size(), " points has a finite value to draw");
  write_file(path, run_gnuplot(kFrame + ("set title " + gnuplot_quoted(title)) +
                               " noenhanced\n$data << EOD\n" + data + "EOD\n" + plots + "\n"));
}

}  // namespace qhv
