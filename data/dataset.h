// Folders of photographs, with or without labels. Images are named here, not read.
//
//   DIR/<class>/<image>      what open_folder reads; hidden names and files that are no images are ignored
//
// The label of a class is
//   (a) its number, if all class folders are named <digits>_<name> with equally many digits and no number
//       occurs twice: 040_bonsai is class 40 even where 039_... is missing because it has no images;
//   (b) otherwise its position in the sorted order (of bytes).
// Where all classes have a folder, numbered from 0, the two agree.
//
// Errors: std::runtime_error with the folder (missing, no folder, no class folders, no images, labels that do
// not fit a classifier); std::invalid_argument for more samples than there are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace qhv {

struct Sample {
  std::string path;
  int label;
};

struct Dataset {
  std::vector<std::string> classes;        // names of the class folders, sorted
  std::vector<std::string> empty_classes;  // those of them without images
  std::vector<Sample> samples;             // by class, then by file name
  bool numbered = false;                   // labels by rule (a)
  int label_count = 0;                     // highest label of a class folder + 1
};

Dataset open_folder(const std::string& dir);

/// Throws unless the labels can be those of a classifier with `classes` classes: by rule (a) every label must
/// be below it, by rule (b) there must be exactly so many folders. `dir` opens the message.
void check_labels(const Dataset& dataset, int classes, const std::string& dir);

/// Every image in DIR or in a folder of DIR, sorted by path. At least one.
std::vector<std::string> list_images(const std::string& dir);

/// `count` different elements of `all`, random but the same for the same seed, in the order they were drawn.
std::vector<std::string> sample_images(std::vector<std::string> all, int count, std::uint64_t seed);

}  // namespace qhv
