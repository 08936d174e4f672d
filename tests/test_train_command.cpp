// `qhyvit train` as a user meets it: files, resuming, and what is refused. Tiny: 32 x 32 pixels, two steps an
// epoch.
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>

#include "tensor/safetensors.h"
#include "tests/image_files.h"
#include "tests/program.h"

using namespace qhv;
using namespace qhv::test;
using nlohmann::json;

namespace {

const std::string kSetting =
    "train --arch mobilevitv2_050 --data synthetic:train:24 --val synthetic:val:4 --res 32 --epochs 2";
const std::string kTrain = kSetting + " --batch 12 --shard 4 --report 1 --seed 3 --out ";

const std::vector<std::string> kFiles{"", ".training", ".csv", ".svg"};

std::vector<std::string> contents(const ProgramFolder& place, const std::string& out) {
  std::vector<std::string> texts;
  for (const std::string& suffix : kFiles) texts.push_back(text_of(place.folder / (out + suffix)));
  return texts;
}

}  // namespace

TEST_CASE("train: files, and a run in portions or with other threads ends with the same bytes") {
  const ProgramFolder place;
  const json result = place.result(kTrain + "whole --threads 1");
  CHECK(result.at("steps") == 4);
  CHECK(result.at("epochs") == 2.0);
  for (const char* key : {"arch", "loss", "top1", "val_loss", "seconds"}) CHECK(result.contains(key));
  const std::vector<std::string> whole = contents(place, "whole");
  for (const std::string& text : whole) CHECK(!text.empty());
  CHECK(whole[2].starts_with("epoch,step,lr,train_loss,train_top1,val_loss,val_top1\n0.5,1,"));
  CHECK(std::count(whole[2].begin(), whole[2].end(), '\n') == 5);

  CHECK(place.run(kTrain + "portions --threads 2 --stop-after 1").code == 0);
  CHECK(contents(place, "portions")[0] != whole[0]);
  place.fails(kTrain + "portions", {"portions.training", "--resume"});
  CHECK(place.run(kTrain + "portions --threads 1 --resume --stop-after 2").code == 0);
  CHECK(place.run(kTrain + "portions --threads 2 --resume").code == 0);
  CHECK(contents(place, "portions") == whole);
  CHECK(place.run(kTrain + "portions --resume").code == 0);  // nothing is left to do
  CHECK(contents(place, "portions") == whole);
  CHECK(place.run(kSetting + " --batch 12 --shard 4 --report 1 --seed 4 --out other").code == 0);
  CHECK(contents(place, "other")[0] != whole[0]);

  // A folder with the same images gives the same network.
  CHECK(place.run("synth --out images --split train --count 24").code == 0);
  CHECK(place
            .run("train --arch mobilevitv2_050 --data images --val synthetic:val:4 --res 32 --epochs 2 "
                 "--batch 12 "
                 "--shard 4 --report 1 --seed 3 --out folder")
            .code == 0);
  CHECK(contents(place, "folder") == whole);

  // The checkpoint is a model like any other, and knows its images and classes.
  const json info = place.result("info whole");
  CHECK(info.at("res") == 32);
  CHECK(info.at("classes") == 21);
  CHECK(place.result("eval whole --data synthetic:val:4").at("top1") == result.at("top1"));
  const json top = place.result("classify whole 'synthetic:val#5' --top 21").at("predictions")[0].at("top");
  bool named = false;
  for (const json& entry : top) named = named || entry.at("class") == "00_disc_stripes";
  CHECK(named);
  CHECK(place.run("quantize whole --calib synthetic:calib:8 --images 4 --method minmax --out q").code == 0);
  CHECK(
      place.result("classify q 'synthetic:val#5'").at("predictions")[0].at("top")[0].at("class").is_string());
}

TEST_CASE("train: a disk that fills up loses nothing, and the run goes on afterwards") {
  const ProgramFolder place;
  CHECK(place.run(kTrain + "whole").code == 0);
  CHECK(place.run(kTrain + "full --stop-after 2").code == 0);
  const std::vector<std::string> before = contents(place, "full");
  // A limit on the size of files stands for the full disk: writes beyond it fail in the same way.
  const Outcome o = place.run(kTrain + "full --resume", "trap '' XFSZ; ulimit -f 100; ");
  INFO(o.err);
  CHECK(o.code == 1);
  CHECK(o.err.find("full.training: cannot be written (File too large)") != std::string::npos);
  CHECK(contents(place, "full") == before);
  for (const auto& entry : std::filesystem::directory_iterator(place.folder.path()))
    CHECK(entry.path().string().find(".tmp-") == std::string::npos);
  CHECK(place.run(kTrain + "full --resume").code == 0);
  CHECK(contents(place, "full") == contents(place, "whole"));
}

TEST_CASE("train: a loss that is not finite ends with step, learning rate and the last good checkpoint") {
  const ProgramFolder place;
  place.fails(
      kSetting + " --batch 12 --shard 4 --report 2 --lr 1e30 --clip 0 --optimizer sgd --quiet --out x",
      {"not finite", "step 2", "learning rate", "there is no checkpoint yet"});
  CHECK(!std::filesystem::exists(place.folder / "x"));

  // A weight so large that the next step overflows.
  CHECK(place.run(kTrain + "y --stop-after 1").code == 0);
  const std::string checkpoint = text_of(place.folder / "y");
  TensorFile file = read_safetensors(place.folder / "y.training");
  RawTensor& weight = file.tensors.at("param.head.fc.weight");
  weight = to_raw_f32(Tensor(weight.shape, real(3e38)));
  write_safetensors(place.folder / "y.training", file);
  place.fails(kTrain + "y --resume --quiet",
              {"not finite", "step 2", "the last good checkpoint is y of step 1"});
  CHECK(text_of(place.folder / "y") == checkpoint);
}

TEST_CASE("train: what does not fit is refused before the work") {
  const ProgramFolder place;
  place.is_wrong_usage("train --arch resnet --data synthetic:train:24 --out x", "mobilevit_xxs");
  place.is_wrong_usage(kSetting + " --batch 12 --shard 5 --out x", "--batch");
  place.is_wrong_usage(kTrain + "x --optimizer adam --weight-decay 0.1", "adamw");
  place.fails(kTrain + "nowhere/x", {"nowhere/x", "cannot be written"});
  place.fails(kTrain + "x --resume", {"x.training", "nothing to resume"});
  place.fails(kSetting + " --batch 36 --shard 4 --out x", {"24 images are fewer than a batch of 36"});
  place.fails(kTrain + "x --crop-area 0.5 0.2", {"areas 0.5 .. 0.2"});
  for (const char* name : {"ant", "bee", "cat"}) {
    std::filesystem::create_directories(place.folder / ("data/" + std::string(name)));
    if (*name != 'b')
      save(place.folder / concat("data/", name, "/0.bmp"), bmp_bytes(random_image(40, 50, 1)));
  }
  place.fails("train --arch mobilevit_xxs --data data --res 32 --batch 2 --shard 2 --out x",
              {"data: class bee has no images"});
  place.fails("train --arch mobilevit_xxs --data nowhere --out x", {"nowhere"});
  CHECK(!std::filesystem::exists(place.folder / "x"));

  CHECK(place.run(kTrain + "y --stop-after 1").code == 0);
  const std::vector<std::string> before = contents(place, "y");
  place.fails(kTrain + "y --resume --lr 0.5", {"y.training: is of a run with lr"});
  place.fails(
      "train --arch mobilevit_xxs --data synthetic:train:24 --res 32 --batch 12 --shard 4 --resume --out y",
      {"y.training: is of a run with arch"});
  std::ofstream(place.folder / "z.training") << before[1].substr(0, 100000);
  place.fails(kTrain + "z --resume", {"z.training"});
  CHECK(contents(place, "y") == before);
}
