#include "data/dataset.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "data/synthetic.h"
#include "tensor/check.h"
#include "tensor/rng.h"

namespace qhv {
namespace {

namespace fs = std::filesystem;

struct Listing {
  std::vector<std::string> folders, images;  // names, sorted
};

/// What a folder holds, without hidden names. A link counts as what it points to; one that points nowhere
/// counts as a file, so that reading it fails rather than leaving it out.
Listing list_folder(const std::string& dir) try {
  if (!fs::exists(dir)) file_error(dir, "no such folder");
  if (!fs::is_directory(dir)) file_error(dir, "is not a folder");
  Listing listing;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir)) {
    const std::string name = entry.path().filename().string();
    if (name.front() == '.') continue;
    if (entry.is_directory())
      listing.folders.push_back(name);
    else if (has_image_extension(name))
      listing.images.push_back(name);
  }
  std::sort(listing.folders.begin(), listing.folders.end());
  std::sort(listing.images.begin(), listing.images.end());
  return listing;
} catch (const fs::filesystem_error& error) {
  file_error(dir, "cannot be listed (", error.code().message(), ")");
}

std::string join(const std::string& dir, const std::string& name) { return (fs::path(dir) / name).string(); }

/// The numbers of folders that are all named <digits>_<name>, or nothing where rule (a) does not hold.
std::optional<std::vector<int>> class_numbers(const std::vector<std::string>& classes) {
  constexpr std::size_t kMaxDigits = 9;  // fits an int
  const std::size_t digits = classes.front().find('_');
  if (digits < 1 || digits > kMaxDigits) return std::nullopt;
  std::vector<int> numbers;
  for (const std::string& name : classes) {
    if (name.find_first_not_of("0123456789") != digits || name[digits] != '_') return std::nullopt;
    numbers.push_back(std::stoi(name.substr(0, digits)));
  }
  const std::set<int> distinct(numbers.begin(), numbers.end());
  if (distinct.size() != numbers.size()) return std::nullopt;
  return numbers;
}

/// Class after class like a folder's, so that every n-th sample is not every n-th of the same class.
Dataset open_synthetic(const std::string& spec) {
  const SyntheticSet set = parse_synthetic_set(spec);
  Dataset dataset;
  dataset.classes = synthetic_classes();
  dataset.numbered = true;
  dataset.label_count = int(dataset.classes.size());
  for (int label = 0; label < dataset.label_count; ++label) {
    if (label >= set.count) dataset.empty_classes.push_back(dataset.classes[std::size_t(label)]);
    for (std::int64_t index = label; index < set.count; index += dataset.label_count)
      dataset.samples.push_back({synthetic_name(set.split, index), label});
  }
  return dataset;
}

}  // namespace

Dataset open_dataset(const std::string& spec) {
  return is_synthetic(spec) ? open_synthetic(spec) : open_folder(spec);
}

Dataset open_folder(const std::string& dir) {
  Dataset dataset;
  dataset.classes = list_folder(dir).folders;
  if (dataset.classes.empty()) file_error(dir, "has no class folders");

  const auto numbers = class_numbers(dataset.classes);
  dataset.numbered = numbers.has_value();
  for (std::size_t i = 0; i < dataset.classes.size(); ++i) {
    const std::string folder = join(dir, dataset.classes[i]);
    const int label = numbers ? (*numbers)[i] : int(i);
    const std::vector<std::string> images = list_folder(folder).images;
    if (images.empty()) dataset.empty_classes.push_back(dataset.classes[i]);
    for (const std::string& name : images) dataset.samples.push_back({join(folder, name), label});
    dataset.label_count = std::max(dataset.label_count, label + 1);
  }
  if (dataset.samples.empty()) file_error(dir, "has no images in its class folders");
  return dataset;
}

void check_labels(const Dataset& dataset, int classes, const std::string& dir) {
  if (dataset.numbered && dataset.label_count > classes)
    file_error(dir, "has a class folder numbered ", dataset.label_count - 1, ", but the classifier has ",
               classes, " classes, from 0");
  if (!dataset.numbered && int(dataset.classes.size()) != classes)
    file_error(dir, "has ", dataset.classes.size(), " class folders, but the classifier has ", classes,
               " classes");
}

std::vector<std::string> list_images(const std::string& spec) {
  std::vector<std::string> paths;
  if (is_synthetic(spec)) {
    for (Sample& sample : open_synthetic(spec).samples) paths.push_back(std::move(sample.path));
    return paths;
  }
  const Listing top = list_folder(spec);
  for (const std::string& name : top.images) paths.push_back(join(spec, name));
  for (const std::string& folder : top.folders)
    for (const std::string& name : list_folder(join(spec, folder)).images)
      paths.push_back(join(join(spec, folder), name));
  if (paths.empty()) file_error(spec, "has no images");
  std::sort(paths.begin(), paths.end());
  return paths;
}

Image load_image(const std::string& path) {
  return is_synthetic(path) ? render_synthetic(path) : decode_image(path);
}

std::vector<std::string> sample_images(std::vector<std::string> all, int count, std::uint64_t seed) {
  require(count >= 0 && std::size_t(count) <= all.size(), "sample_images", count, " images wanted, ",
          all.size(), " there");
  // The first steps of a Fisher-Yates shuffle: element i is drawn from those not drawn yet.
  for (std::size_t i = 0; i < std::size_t(count); ++i)
    std::swap(all[i], all[i + random_below(seed, i, std::uint32_t(all.size() - i))]);
  all.resize(std::size_t(count));
  return all;
}

}  // namespace qhv
