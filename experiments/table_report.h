// What is read of a comparison's rows (table.h): tables in Markdown for people, JSON for machines.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "experiments/table.h"

namespace qhv {

/// A table of the means over seeds; if there are several models, one of the means over them; and lines that
/// say what was measured. Top-1 is a fraction, changes are in points, latency in milliseconds.
std::string markdown_report(std::span<const TableRow> rows);

/// {rows [{model, arch, engine, method, wbits, abits, scope, seed, top1, top5, agreement, fp32_top1, bytes,
/// latency_ms, seconds, settings}],
/// means [{model, method, wbits, abits, scope, seeds, top1, lowest, highest, agreement, fp32_top1, change,
/// bytes, latency_ms, seconds}],
/// over_models [the same with models, worst_change and worst_model instead of model]}
nlohmann::json report_json(std::span<const TableRow> rows);

/// As tables and pictures show it: the name of the model's file.
std::string model_label(const std::string& model);

/// "8/8", or "8/8 full".
std::string bits_label(const TableKey& key);

}  // namespace qhv
