#include "experiments/table_report.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "experiments/means.h"
#include "tensor/check.h"

namespace qhv {
namespace {

using nlohmann::json;

template <typename... Values>
std::string formatted(const char* format, Values... values) {
  char text[64];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

std::string line(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& cell : cells) text += cell.empty() ? " |" : concat(" ", cell, " |");
  return text + "\n";
}

std::string heading(const std::vector<std::string>& cells) {
  std::string text = line(cells) + "|";
  for (std::size_t i = 0; i < cells.size(); ++i) text += "---|";
  return text + "\n";
}

/// Empty where there is none: a float network, or one seed.
std::string spread_text(const Mean& m) {
  return m.count > 1 ? formatted("%.4f .. %.4f", m.lowest, m.highest) : "";
}

std::string points_text(double change) { return formatted("%+.2f", 100 * change); }

std::string models_table(std::span<const Mean> means, bool spread) {
  std::vector<std::string> names{"model",          "method",    "W/A",      "top-1",       "float32",
                                 "change, points", "agreement", "size, MB", "latency, ms", "quantised in, s"};
  if (spread) names.insert(names.begin() + 4, "lowest .. highest");
  std::string text = heading(names);
  for (const Mean& m : means) {
    std::vector<std::string> cells{model_label(m.key.model),
                                   m.key.method,
                                   bits_label(m.key),
                                   formatted("%.4f", m.top1),
                                   formatted("%.4f", m.fp32_top1),
                                   m.is_float() ? "" : points_text(m.change()),
                                   m.is_float() ? "" : formatted("%.4f", m.agreement),
                                   formatted("%.2f", m.bytes / 1e6),
                                   formatted("%.1f", m.latency_ms),
                                   m.is_float() ? "" : formatted("%.1f", m.seconds)};
    if (spread) cells.insert(cells.begin() + 4, spread_text(m));
    text += line(cells);
  }
  return text;
}

std::string over_models_table(std::span<const MeanOverModels> means, bool spread) {
  std::vector<std::string> names{"mean over models", "W/A",          "top-1",       "change, points",
                                 "agreement",        "worst change", "worst model", "quantised in, s"};
  if (spread) names.insert(names.begin() + 3, "lowest .. highest");
  std::string text = heading(names);
  for (const auto& [mean, models, worst_change, worst_model] : means) {
    const bool is_float = mean.is_float();
    std::vector<std::string> cells{mean.key.method,
                                   bits_label(mean.key),
                                   formatted("%.4f", mean.top1),
                                   is_float ? "" : points_text(mean.change()),
                                   is_float ? "" : formatted("%.4f", mean.agreement),
                                   is_float ? "" : points_text(worst_change),
                                   is_float ? "" : model_label(worst_model),
                                   is_float ? "" : formatted("%.1f", mean.seconds)};
    if (spread) cells.insert(cells.begin() + 3, spread_text(mean));
    text += line(cells);
  }
  return text;
}

/// The seeds and the settings of the quantised rows.
std::string notes(std::span<const TableRow> rows) {
  std::set<std::uint64_t> seeds;
  std::vector<std::string> settings;
  for (const TableRow& row : rows) {
    if (row.key.method == kFloatMethod) continue;
    seeds.insert(row.key.seed);
    if (std::ranges::find(settings, row.settings) == settings.end()) settings.push_back(row.settings);
  }
  std::string text;
  for (const std::uint64_t seed : seeds)
    text += concat(
        text.empty() ? (seeds.size() > 1 ? "Means over calibration seeds " : "Calibration seed ") : ", ",
        seed);
  text += seeds.empty() ? "" : ".\n";
  for (const std::string& s : settings) text += concat("Settings: `", s, "`\n");
  return text;
}

json mean_json(const Mean& m) {
  return {{"method", m.key.method},
          {"wbits", m.key.wbits},
          {"abits", m.key.abits},
          {"seeds", m.count},
          {"scope", scope_name(m.key.full)},
          {"top1", m.top1},
          {"lowest", m.lowest},
          {"highest", m.highest},
          {"agreement", m.agreement},
          {"change", m.change()},
          {"fp32_top1", m.fp32_top1},
          {"bytes", m.bytes},
          {"seconds", m.seconds},
          {"latency_ms", m.latency_ms}};
}

json row_json(const TableRow& r) {
  return {{"model", r.key.model},
          {"arch", r.arch},
          {"engine", r.engine},
          {"method", r.key.method},
          {"wbits", r.key.wbits},
          {"abits", r.key.abits},
          {"scope", scope_name(r.key.full)},
          {"seed", r.key.seed},
          {"top1", r.top1},
          {"top5", r.top5},
          {"agreement", r.agreement},
          {"fp32_top1", r.fp32_top1},
          {"bytes", r.bytes},
          {"latency_ms", r.latency_ms},
          {"seconds", r.seconds},
          {"settings", r.settings}};
}

}  // namespace

std::string model_label(const std::string& model) { return std::filesystem::path(model).filename().string(); }

std::string bits_label(const TableKey& key) {
  return concat(key.wbits, "/", key.abits, key.full ? " full" : "");
}

std::string markdown_report(std::span<const TableRow> rows) {
  const std::vector<Mean> means = means_over_seeds(rows);
  const std::vector<MeanOverModels> over_models = means_over_models(rows);
  const bool spread = std::ranges::any_of(means, [](const Mean& m) { return m.count > 1; });
  std::string text = models_table(means, spread);
  if (!over_models.empty() && over_models.front().models > 1)
    text += "\n" + over_models_table(over_models, spread);
  return text + "\n" + notes(rows);
}

json report_json(std::span<const TableRow> rows) {
  json result{{"rows", json::array()}, {"means", json::array()}, {"over_models", json::array()}};
  for (const TableRow& row : rows) result["rows"].push_back(row_json(row));
  for (const Mean& mean : means_over_seeds(rows)) {
    result["means"].push_back(mean_json(mean));
    result["means"].back()["model"] = mean.key.model;
  }
  for (const auto& [mean, models, worst_change, worst_model] : means_over_models(rows)) {
    json& entry = result["over_models"].emplace_back(mean_json(mean));
    entry["models"] = models;
    entry["worst_change"] = worst_change;
    entry["worst_model"] = worst_model;
  }
  return result;
}

}  // namespace qhv
