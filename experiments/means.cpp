#include "experiments/means.h"

#include <algorithm>

namespace qhv {
namespace {

TableKey without_seed(TableKey key) {
  key.seed = 0;
  return key;
}

TableKey without_model(TableKey key) {
  key.model.clear();
  return key;
}

Mean mean_of(const TableKey& key, std::span<const TableRow> rows) {
  const auto mean = [&](auto field) {
    double sum = 0;
    for (const TableRow& row : rows) sum += double(row.*field);
    return sum / double(rows.size());
  };
  const auto [lowest, highest] = std::ranges::minmax(rows, {}, &TableRow::top1);
  return {.key = key,
          .count = int(rows.size()),
          .top1 = mean(&TableRow::top1),
          .lowest = lowest.top1,
          .highest = highest.top1,
          .agreement = mean(&TableRow::agreement),
          .fp32_top1 = mean(&TableRow::fp32_top1),
          .bytes = mean(&TableRow::bytes),
          .latency_ms = mean(&TableRow::latency_ms),
          .seconds = mean(&TableRow::seconds)};
}

/// The rows with equal keys side by side, in the order of the first of each; `key_of` makes the keys.
template <typename KeyOf>
std::vector<std::vector<TableRow>> groups_of(std::span<const TableRow> rows, const KeyOf& key_of) {
  std::vector<std::vector<TableRow>> groups;
  for (const TableRow& row : rows) {
    const auto group =
        std::ranges::find_if(groups, [&](const auto& g) { return key_of(g.front().key) == key_of(row.key); });
    if (group == groups.end())
      groups.push_back({row});
    else
      group->push_back(row);
  }
  return groups;
}

}  // namespace

std::vector<Mean> means_over_seeds(std::span<const TableRow> rows) {
  std::vector<Mean> means;
  for (const auto& group : groups_of(rows, without_seed))
    means.push_back(mean_of(without_seed(group.front().key), group));
  return means;
}

std::vector<MeanOverModels> means_over_models(std::span<const TableRow> rows) {
  const std::size_t models = groups_of(rows, [](const TableKey& key) { return key.model; }).size();
  std::vector<TableRow> common, over_models;  // the rows that all models have; their means by seed
  for (const auto& group : groups_of(rows, without_model)) {
    if (group.size() != models) continue;
    common.insert(common.end(), group.begin(), group.end());
    const Mean mean = mean_of(without_model(group.front().key), group);
    TableRow row;
    row.key = mean.key;
    row.top1 = mean.top1;
    row.agreement = mean.agreement;
    row.fp32_top1 = mean.fp32_top1;
    row.bytes = std::int64_t(mean.bytes);
    row.latency_ms = mean.latency_ms;
    row.seconds = mean.seconds;
    over_models.push_back(row);
  }
  const std::vector<Mean> of_models = means_over_seeds(common);
  std::vector<MeanOverModels> result;
  for (const Mean& mean : means_over_seeds(over_models)) {
    const Mean* worst = nullptr;
    for (const Mean& of_model : of_models)
      if (without_model(of_model.key) == mean.key && (!worst || of_model.change() < worst->change()))
        worst = &of_model;
    result.push_back({mean, int(models), worst->change(), worst->key.model});
  }
  return result;
}

}  // namespace qhv
