#include "experiments/table_plot.h"

#include <algorithm>
#include <cmath>

#include "experiments/gnuplot.h"
#include "experiments/means.h"
#include "experiments/number_text.h"
#include "experiments/table_report.h"
#include "tensor/check.h"
#include "tensor/file.h"

namespace qhv {
namespace {

constexpr double kDepth = 20;  // points below float32 at which a panel ends

struct Panel {
  std::string title;
  double float_top1 = 0;    // in percent, as all of a picture
  std::vector<Mean> means;  // of quantised rows
};

/// What all panels share: the texts of the ticks and of the legend, in the order of the rows.
struct Axes {
  std::vector<std::string> bits, methods;
};

std::string bits_of(const Mean& m) { return concat(m.key.wbits, "/", m.key.abits); }
std::string method_of(const Mean& m) { return m.key.method + (m.key.full ? " full" : ""); }

std::vector<Panel> panels_of(std::span<const TableRow> rows) {
  std::vector<Panel> panels;
  std::vector<std::string> models;
  const auto add = [&](const std::string& title, const Mean& m) {
    if (models.empty() || models.back() != m.key.model) {
      models.push_back(m.key.model);
      panels.push_back({title, 100 * m.fp32_top1, {}});
    }
    if (!m.is_float()) panels.back().means.push_back(m);
  };
  for (const Mean& m : means_over_seeds(rows)) add(model_label(m.key.model), m);
  if (panels.size() > 1)
    for (const MeanOverModels& m : means_over_models(rows))
      add(concat("mean over ", m.models, " models"), m.mean);
  return panels;
}

Axes axes_of(std::span<const Panel> panels) {
  Axes axes;
  const auto add = [](std::vector<std::string>& texts, const std::string& text) {
    if (std::ranges::find(texts, text) == texts.end()) texts.push_back(text);
  };
  for (const Panel& panel : panels)
    for (const Mean& m : panel.means) add(axes.bits, bits_of(m)), add(axes.methods, method_of(m));
  return axes;
}

/// Pixels. Panels stand in rows, the legend beside them, the caption below.
struct Layout {
  int columns, width, height, legend_width, panels_height;

  Layout(int panels, const Axes& axes) {
    columns = panels <= 3 ? panels : int(std::ceil(std::sqrt(panels)));
    width = panels == 1 ? 560 : std::max(300, 80 + 90 * int(axes.bits.size()));
    height = panels == 1 ? 420 : 300;
    std::size_t longest = 0;
    for (const std::string& method : axes.methods) longest = std::max(longest, method.size());
    legend_width = 70 + 9 * int(longest);
    const int rows = (panels + columns - 1) / columns, legend_height = 70 + 22 * int(axes.methods.size());
    panels_height = std::max(rows * height, legend_height);
  }

  int total_width() const { return columns * width + legend_width; }
  int total_height() const { return panels_height + 50; }

  /// As gnuplot's share of the screen.
  std::string x(int pixels) const { return number_text(double(pixels) / total_width()); }
  std::string y(int pixels) const { return number_text(1 - double(pixels) / total_height()); }

  /// The box between the axes of panel i.
  std::string margins(int i) const {
    const int left = i % columns * width, top = i / columns * height;
    return concat("set lmargin at screen ", x(left + 62), "\nset rmargin at screen ", x(left + width - 10),
                  "\nset tmargin at screen ", y(top + 36), "\nset bmargin at screen ", y(top + height - 30),
                  "\n");
  }
};

struct Style {
  const char* colour;
  int point;
};
constexpr Style kStyles[] = {{"#1f77b4", 7},  {"#ff7f0e", 5}, {"#2ca02c", 9},  {"#9467bd", 13},
                             {"#8c564b", 15}, {"#e377c2", 6}, {"#a0a000", 12}, {"#17becf", 8},
                             {"#7f7f7f", 4},  {"#d62728", 7}, {"#000000", 5},  {"#00429d", 9},
                             {"#f2b100", 13}, {"#005f40", 15}};
constexpr int kBelow = 11;  // a triangle on its tip, of no method
constexpr const char* kFloatStyle = " with lines dt 2 lw 1.4 lc rgb '#404040'";

const Style& style_of(std::size_t method) { return kStyles[method % std::size(kStyles)]; }

std::string style_text(const Style& s) {
  return concat(" lw 1.6 ps 0.7 pt ", s.point, " lc rgb '", s.colour, "'");
}

struct YRange {
  double bottom, top;
};

YRange y_range(const Panel& panel) {
  const double floor = std::max(0.0, panel.float_top1 - kDepth);
  double lowest = panel.float_top1, highest = panel.float_top1;
  for (const Mean& m : panel.means) {
    lowest = std::min(lowest, 100 * m.lowest);
    highest = std::max(highest, 100 * m.highest);
  }
  lowest = std::max(lowest, floor);
  const double margin = std::max(0.25, 0.06 * (highest - lowest));
  return {std::max(floor, lowest - margin), highest + margin};
}

std::string panel_script(const Panel& panel, const Axes& axes) {
  const auto [bottom, top] = y_range(panel);
  const double step = (axes.bits.size() > 1 ? 0.7 : 0.8) / double(axes.methods.size());
  std::string script, plots = number_text(panel.float_top1) + kFloatStyle;
  for (std::size_t i = 0; i < axes.methods.size(); ++i) {
    std::string data, below;
    bool spread = false;
    for (const Mean& m : panel.means) {
      if (method_of(m) != axes.methods[i]) continue;
      const auto position = std::ranges::find(axes.bits, bits_of(m)) - axes.bits.begin();
      const double x = double(position) + step * (double(i) - 0.5 * double(axes.methods.size() - 1));
      data += concat(number_text(x), " ", number_text(100 * m.top1), " ", number_text(100 * m.lowest), " ",
                     number_text(100 * m.highest), "\n");
      if (100 * m.top1 < bottom)
        below += concat(number_text(x), " ", number_text(bottom + 0.025 * (top - bottom)), "\n");
      spread = spread || m.lowest < m.highest;
    }
    const auto add = [&](const std::string& name, const std::string& points, const std::string& with) {
      if (points.empty()) return;
      script += concat("$", name, i, " << EOD\n", points, "EOD\n");
      plots += concat(", $", name, i, " with ", with);
    };
    add("data", data, (spread ? "yerrorlines" : "linespoints") + style_text(style_of(i)));
    add("below", below, "points" + style_text({style_of(i).colour, kBelow}));
  }
  return concat(script, "set title ", gnuplot_quoted(panel.title), " noenhanced\nset yrange [",
                number_text(bottom), ":", number_text(top), "]\nplot ", plots, "\n");
}

std::string caption_of(std::span<const Panel> panels) {
  bool spread = false, below = false;
  int seeds = 1;
  for (const Panel& panel : panels)
    for (const Mean& m : panel.means) {
      seeds = std::max(seeds, m.count);
      spread = spread || m.count > 1;
      below = below || 100 * m.top1 < panel.float_top1 - kDepth;
    }
  std::string text = "Top-1 by bits of weights/activations";
  if (spread) text += concat(". Means over ", seeds, " calibration seeds, bars: lowest to highest");
  if (below) text += concat("\\nTriangles: more than ", kDepth, " points below float32");
  return text;
}

/// What all panels have in common.
std::string frame_script(const Layout& layout, const Axes& axes) {
  std::string ticks;
  for (std::size_t i = 0; i < axes.bits.size(); ++i)
    ticks += concat(i ? ", " : "", gnuplot_quoted(axes.bits[i]), " ", i);
  return concat("set terminal svg size ", layout.total_width(), ",", layout.total_height(),
                " font 'DejaVu Sans,Helvetica,sans-serif,13' background rgb 'white'\n"
                "set multiplot\n"
                "set border lc rgb '#606060'\n"
                "set grid ytics lc rgb '#dddddd' lt 1 lw 0.7\n"
                "set errorbars small\n"
                "set ytics nomirror\n"
                "set xtics nomirror (",
                ticks, ")\nset xrange [-0.5:", axes.bits.size(),
                "-0.5]\n"
                "set ylabel 'top-1, %' offset 1,0\n"
                "set title offset 0,-0.4\n"
                "unset key\n");
}

/// The legend and the caption: a plot of nothing over the whole picture, for gnuplot only lists as many
/// entries as the axes beside them are high.
std::string legend_script(const Layout& layout, const Axes& axes, const std::string& caption) {
  std::string keys;
  for (std::size_t i = 0; i < axes.methods.size(); ++i)
    keys += concat(", keyentry with linespoints", style_text(style_of(i)), " title ",
                   gnuplot_quoted(axes.methods[i]));
  return concat(
      "set lmargin at screen 0\nset rmargin at screen 1\n"
      "set tmargin at screen 1\nset bmargin at screen 0\n"
      "unset border\nunset tics\nunset title\nunset ylabel\n"
      "set key at screen ",
      layout.x(layout.columns * layout.width), ",", layout.y(28),
      " left top Left reverse vertical noenhanced noautotitle spacing 1.2\n"
      "set label \"",
      caption, "\" at screen ", layout.x(12), ",", layout.y(layout.total_height() - 30),
      " left font ',12' tc rgb '#404040'\n"
      "set yrange [0:1]\nplot 2 notitle",
      keys, ", keyentry", kFloatStyle, " title 'float32'\n");
}

}  // namespace

void write_table_svg(const std::string& path, std::span<const TableRow> rows) {
  const std::vector<Panel> panels = panels_of(rows);
  const Axes axes = axes_of(panels);
  require(!axes.methods.empty(), "table", "no quantised row to draw among ", rows.size());
  const Layout layout(int(panels.size()), axes);
  std::string script = frame_script(layout, axes);
  for (std::size_t i = 0; i < panels.size(); ++i)
    script += layout.margins(int(i)) + panel_script(panels[i], axes);
  write_file(path,
             run_gnuplot(script + legend_script(layout, axes, caption_of(panels)) + "unset multiplot\n"));
}

}  // namespace qhv
