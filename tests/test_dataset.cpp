#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "data/dataset.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;
using Names = std::vector<std::string>;

namespace {

/// Empty files (nothing here reads images) and their folders; a name that ends in '/' is a folder.
void create(const TemporaryFolder& folder, const Names& names) {
  for (const std::string& name : names) {
    const std::filesystem::path path = folder / name;
    std::filesystem::create_directories(path.parent_path());
    if (name.back() != '/') std::ofstream{path};
  }
}

/// "label:path below the folder" of each sample.
Names labelled(const Dataset& dataset, const TemporaryFolder& folder) {
  Names names;
  for (const Sample& s : dataset.samples)
    names.push_back(concat(s.label, ':', s.path.substr(folder.path().size() + 1)));
  return names;
}

}  // namespace

TEST_CASE("dataset: without numbers the label is the position in byte order") {
  const TemporaryFolder folder;
  create(folder, {"dog/2.jpg", "dog/10.PNG", "Zebra/a.bmp", "cat/b.jpeg", "cat/a.jpg", "\xc3\xa9/x.jpg"});
  const Dataset dataset = open_folder(folder.path());
  CHECK(dataset.classes == Names{"Zebra", "cat", "dog", "\xc3\xa9"});
  CHECK_FALSE(dataset.numbered);
  CHECK(dataset.label_count == 4);
  CHECK(dataset.empty_classes.empty());
  CHECK(labelled(dataset, folder) == Names{"0:Zebra/a.bmp", "1:cat/a.jpg", "1:cat/b.jpeg", "2:dog/10.PNG",
                                           "2:dog/2.jpg", "3:\xc3\xa9/x.jpg"});
}

TEST_CASE("dataset: what is not an image of a class does not count") {
  const TemporaryFolder folder;
  create(folder, {"a/1.jpg", "a/notes.txt", "a/.hidden.jpg", "a/folder.jpg/", "a/deep/2.jpg", ".git/3.jpg",
                  "readme.txt", "loose.jpg", "b/"});
  std::filesystem::create_symlink(folder / "loose.jpg", folder / "b/link.jpg");
  std::filesystem::create_directory_symlink(folder / "a", folder / "c");
  const Dataset dataset = open_folder(folder.path());
  CHECK(labelled(dataset, folder) == Names{"0:a/1.jpg", "1:b/link.jpg", "2:c/1.jpg"});
}

TEST_CASE("dataset: numbered folders keep their numbers where one is missing or empty") {
  const TemporaryFolder folder;
  create(folder, {"000_tench/a.jpg", "001_church/", "003_pay_phone/b.jpg"});
  const Dataset dataset = open_folder(folder.path());
  CHECK(dataset.numbered);
  CHECK(dataset.label_count == 4);
  CHECK(dataset.empty_classes == Names{"001_church"});
  CHECK(labelled(dataset, folder) == Names{"0:000_tench/a.jpg", "3:003_pay_phone/b.jpg"});
}

TEST_CASE("dataset: the numbers count only if all folders have them, equally long and different") {
  const Names not_numbered[]{{"1_a/x.jpg", "03_b/x.jpg"},                    // lengths
                             {"01_a/x.jpg", "03/x.jpg"},                     // one without a name
                             {"01_a/x.jpg", "03b/x.jpg"},                    //
                             {"01_a/x.jpg", "b/x.jpg"},                      // one without a number
                             {"01_a/x.jpg", "01_b/x.jpg"},                   // a number twice
                             {"_a/x.jpg", "_b/x.jpg"},                       // no digits
                             {"9999999999_a/x.jpg", "9999999998_b/x.jpg"}};  // beyond an int
  for (const Names& names : not_numbered) {
    const TemporaryFolder folder;
    create(folder, names);
    const Dataset dataset = open_folder(folder.path());
    CAPTURE(names.front());
    CHECK_FALSE(dataset.numbered);
    CHECK(dataset.samples.front().label == 0);
    CHECK(dataset.samples.back().label == 1);
    CHECK(dataset.label_count == 2);
  }
  const TemporaryFolder folder;
  create(folder, {"7_a/x.jpg", "2_/x.jpg"});
  CHECK(labelled(open_folder(folder.path()), folder) == Names{"2:2_/x.jpg", "7:7_a/x.jpg"});
}

TEST_CASE("dataset: labels and the classifier's classes") {
  const TemporaryFolder folder;
  create(folder, {"plain/a/x.jpg", "plain/b/x.jpg", "numbered/00_a/x.jpg", "numbered/05_b/x.jpg"});
  const std::string plain = folder / "plain", numbered = folder / "numbered";
  const auto error = [](const std::string& dir, int classes) {
    return error_of([&] { check_labels(open_folder(dir), classes, dir); });
  };
  CHECK(error(plain, 2) == "no error");
  CHECK(error(plain, 3) ==
        "runtime_error: " + plain + ": has 2 class folders, but the classifier has 3 classes");
  CHECK(error(plain, 1).starts_with("runtime_error: " + plain));
  CHECK(error(numbered, 6) == "no error");
  CHECK(error(numbered, 121) == "no error");
  CHECK(error(numbered, 5) ==
        "runtime_error: " + numbered +
            ": has a class folder numbered 5, but the classifier has 5 classes, from 0");
}

TEST_CASE("dataset: folders that are none") {
  const TemporaryFolder folder;
  create(folder, {"file.jpg", "empty/", "flat/x.jpg", "hollow/a/", "hollow/b/notes.txt"});
  const auto error = [&](const std::string& name) {
    const std::string dir = folder / name;
    const std::string text = error_of([&] { open_folder(dir); });
    CHECK(text.starts_with("runtime_error: " + dir + ": "));
    return text.substr(std::min(text.size(), dir.size() + 17));
  };
  CHECK(error("absent") == "no such folder");
  CHECK(error("file.jpg") == "is not a folder");
  CHECK(error("empty") == "has no class folders");
  CHECK(error("flat") == "has no class folders");
  CHECK(error("hollow") == "has no images in its class folders");
}

TEST_CASE("list_images: flat folders and class folders, not deeper") {
  const TemporaryFolder folder;
  create(folder, {"b/2.jpg", "b/1.jpg", "a.png", "c.txt", "b/deep/3.jpg", ".x/4.jpg", "none/"});
  CHECK(list_images(folder.path()) == Names{folder / "a.png", folder / "b/1.jpg", folder / "b/2.jpg"});
  CHECK(list_images(folder / "b/deep") == Names{folder / "b/deep/3.jpg"});
  CHECK(error_of([&] { list_images(folder / "none"); }) ==
        "runtime_error: " + (folder / "none") + ": has no images");
  CHECK(error_of([&] { list_images(folder / "gone"); }) ==
        "runtime_error: " + (folder / "gone") + ": no such folder");
}

TEST_CASE("sample_images: different elements, fixed by the seed, each as likely") {
  Names all;
  for (int i = 0; i < 20; ++i) all.push_back(concat("image", i));
  const Names five = sample_images(all, 5, 1);
  CHECK(five.size() == 5);
  CHECK(five == sample_images(all, 5, 1));
  CHECK(five != sample_images(all, 5, 2));
  Names everything = sample_images(all, 20, 3);
  CHECK(everything != all);
  CHECK(std::set<std::string>(everything.begin(), everything.end()) ==
        std::set<std::string>(all.begin(), all.end()));
  CHECK(sample_images(all, 0, 1).empty());
  CHECK(error_of([&] { sample_images(all, 21, 1); }) ==
        "invalid_argument: [sample_images] 21 images wanted, 20 there");
  CHECK(error_of([&] { sample_images(all, -1, 1); }).starts_with("invalid_argument"));

  // 4000 draws of 5 of 20: each is drawn 1000 times, standard deviation sqrt(4000 * 1/4 * 3/4) = 27.4.
  std::map<std::string, int> count;
  for (std::uint64_t seed = 0; seed < 4000; ++seed)
    for (const std::string& name : sample_images(all, 5, seed)) ++count[name];
  for (const std::string& name : all) CHECK(std::abs(count[name] - 1000) < 5 * 28);
}

TEST_CASE("dataset: the photographs of development") {
  const auto val = shared_path("images/photo121/val");
  const auto calib = shared_path("images/photo121/calib");
  if (!val || !calib) return;
  const Dataset dataset = open_folder(*val);
  CHECK(dataset.samples.size() == 2000);
  CHECK(dataset.numbered);
  CHECK(dataset.classes.size() == 119);  // 040 and 092 have no photograph there
  CHECK(dataset.label_count == 121);
  CHECK(error_of([&] { check_labels(dataset, 121, *val); }) == "no error");
  CHECK(dataset.samples.back().label == 120);
  CHECK(list_images(*calib).size() == 512);
}
