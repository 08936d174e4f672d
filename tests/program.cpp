#include "tests/program.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <fstream>
#include <sys/wait.h>

#include "models/generated.h"
#include "models/mobilevit.h"
#include "tensor/safetensors.h"

namespace qhv::test {

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

Outcome ProgramFolder::run(const std::string& arguments, const std::string& before) const {
  const std::string command = concat("cd ", folder.path(), " && { ", before, QHV_PROGRAM, " ", arguments,
                                     "; } > out 2> err < /dev/null");
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text_of(folder / "out"), text_of(folder / "err")};
}

nlohmann::json ProgramFolder::result(const std::string& arguments) const {
  const Outcome o = run(arguments + " --json result.json");
  INFO(arguments << "\n" << o.err);
  REQUIRE(o.code == 0);
  return nlohmann::json::parse(text_of(folder / "result.json"));
}

void ProgramFolder::fails(const std::string& arguments, const std::vector<std::string>& words) const {
  const Outcome o = run(arguments);
  INFO(arguments << "\n" << o.out << o.err);
  CHECK(o.code == 1);
  CHECK(std::count(o.err.begin(), o.err.end(), '\n') == 1);
  CHECK(o.err.starts_with("qhyvit: "));
  for (const std::string& word : words) {
    INFO(word);
    CHECK(o.err.find(word) != std::string::npos);
  }
}

void ProgramFolder::is_wrong_usage(const std::string& arguments, const std::string& words) const {
  const Outcome o = run(arguments);
  INFO(arguments << "\n" << o.out << o.err);
  CHECK(o.code == 2);
  CHECK((o.out + o.err).find(words) != std::string::npos);
}

void write_generated_checkpoint(const std::string& path, int classes, int res) {
  Graph graph = build_mobilevit(*find_arch("mobilevit_xxs"), classes, res);
  generate_weights(graph);
  TensorFile file;
  for (const Param& p : graph.params) file.tensors.emplace(p.name, to_raw_f32(p.value));
  write_safetensors(path, file);
}

}  // namespace qhv::test
