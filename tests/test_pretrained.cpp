// The networks that come with the project: they load, are small, and know the classes of images that they
// have not seen.
#include <doctest/doctest.h>
#include <filesystem>

#include "data/synthetic.h"
#include "tests/program.h"

using namespace qhv;
using namespace qhv::test;
using nlohmann::json;

TEST_CASE("pretrained: 90 % on images of unseen seeds, 6 MB together") {
  std::uintmax_t bytes = 0;
  for (const std::string arch : {"mobilevit_xxs", "mobilevitv2_050"}) {
    CAPTURE(arch);
    const ProgramFolder place;
    const std::string path = concat(QHV_SOURCE_DIR, "/models/pretrained/synthetic_", arch, ".safetensors");
    const json result = place.result(concat("eval ", path, " --data synthetic:test:420"));
    CHECK(result.at("arch") == arch);
    CHECK(result.at("images") == 420);
    CHECK(result.at("top1").get<double>() >= 0.9);
    const json info = place.result("info " + path);
    CHECK(info.at("classes") == synthetic_classes().size());
    CHECK(info.at("res") == kSyntheticSide);
    bytes += std::filesystem::file_size(path);
  }
  CHECK(bytes < 6'000'000);
}
