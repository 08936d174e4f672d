// The network that comes with the project: it loads, is small, and knows the classes of images that it has
// not seen.
#include <doctest/doctest.h>
#include <filesystem>

#include "data/synthetic.h"
#include "tests/program.h"

using namespace qhv;
using namespace qhv::test;
using nlohmann::json;

TEST_CASE("pretrained: mobilevit_xxs reaches 90 % on images of unseen seeds, and stays below 2 MB") {
  const ProgramFolder place;
  const std::string path = concat(QHV_SOURCE_DIR, "/models/pretrained/synthetic_mobilevit_xxs.safetensors");
  const json result = place.result(concat("eval ", path, " --data synthetic:test:420"));
  CHECK(result.at("arch") == "mobilevit_xxs");
  CHECK(result.at("images") == 420);
  CHECK(result.at("top1").get<double>() >= 0.9);
  const json info = place.result("info " + path);
  CHECK(info.at("classes") == synthetic_classes().size());
  CHECK(info.at("res") == kSyntheticSide);
  CHECK(std::filesystem::file_size(path) < 2'000'000);
}
