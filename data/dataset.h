// Sets of images, with or without labels: folders of photographs, or synthetic ones, which need no files
// (data/synthetic.h). Images are named here; load_image reads or renders one.
//
//   DIR/<class>/<image>         what open_folder reads; hidden names and files that are no images are ignored
//   synthetic:SPLIT[:COUNT]     rendered, its 21 classes numbered
//
// The label of a class is
//   (a) its number, if all class folders are named <digits>_<name> with equally many digits and no number
//       occurs twice: 040_bonsai is class 40 even where 039_... is missing because it has no images;
//   (b) otherwise its position in the sorted order (of bytes).
// Where all classes have a folder, numbered from 0, the two agree.
//
// Errors: std::runtime_error with the folder (missing, no folder, no class folders, no images, labels that do
// not fit a classifier) or the synthetic name (unknown split, bad count); std::invalid_argument for more
// samples than there are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/image.h"

namespace qhv {

struct Sample {
  std::string path;  // of a file, or synthetic:SPLIT#INDEX
  int label;
};

struct Dataset {
  std::vector<std::string> classes;        // names of the class folders, sorted
  std::vector<std::string> empty_classes;  // those of them without images
  std::vector<Sample> samples;             // by class, then by file name or index
  bool numbered = false;                   // labels by rule (a)
  int label_count = 0;                     // highest label of a class folder + 1
};

/// A folder or a synthetic set.
Dataset open_dataset(const std::string& spec);
Dataset open_folder(const std::string& dir);

/// Throws unless the labels can be those of a classifier with `classes` classes: by rule (a) every label must
/// be below it, by rule (b) there must be exactly so many folders. `dir` opens the message.
void check_labels(const Dataset& dataset, int classes, const std::string& dir);

/// Every image in DIR or in a folder of DIR, sorted by path, or those of a synthetic set. At least one.
std::vector<std::string> list_images(const std::string& spec);

/// The image of a Sample's path: decoded, or rendered.
Image load_image(const std::string& path);

/// `count` different elements of `all`, random but the same for the same seed, in the order they were drawn.
std::vector<std::string> sample_images(std::vector<std::string> all, int count, std::uint64_t seed);

}  // namespace qhv
