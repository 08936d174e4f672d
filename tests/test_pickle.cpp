// Pickle programs, byte by byte. Expectations are what Python's pickletools documents.
#include <doctest/doctest.h>
#include <stdexcept>

#include "tensor/pickle.h"
#include "tensor/rng.h"
#include "tests/support.h"

using namespace qhv;
using namespace qhv::test;
using namespace std::string_literals;

namespace {

constexpr std::string_view kAllowed[] = {"torch.FloatStorage", "torch._utils._rebuild_tensor_v2"};

Pickle parse(const std::string& program) {
  return parse_pickle(std::as_bytes(std::span(program)), kAllowed, "p");
}
std::string parse_error(const std::string& program) {
  return error_of([&] { parse(program); });
}

/// A value as Python would print it.
std::string print(const Pickle& pickle, int id) {
  const auto list = [&](const std::vector<int>& items) {
    std::string text;
    for (const int item : items) text += (text.empty() ? "" : ", ") + print(pickle, item);
    return text;
  };
  const PickleValue& value = pickle.values[std::size_t(id)];
  if (const auto* b = std::get_if<bool>(&value)) return *b ? "True" : "False";
  if (const auto* i = std::get_if<std::int64_t>(&value)) return std::to_string(*i);
  if (const auto* f = std::get_if<double>(&value)) return concat(*f);
  if (const auto* s = std::get_if<std::string>(&value)) return "'" + *s + "'";
  if (const auto* t = std::get_if<PickleTuple>(&value)) return "(" + list(t->items) + ")";
  if (const auto* l = std::get_if<PickleList>(&value)) return "[" + list(l->items) + "]";
  if (const auto* g = std::get_if<PickleGlobal>(&value)) return std::string(g->name);
  if (const auto* c = std::get_if<PickleCall>(&value))
    return print(pickle, c->function) + "*" + print(pickle, c->arguments);
  if (const auto* p = std::get_if<PicklePersistent>(&value)) return "stored" + print(pickle, p->id);
  if (const auto* d = std::get_if<PickleDict>(&value)) {
    std::string text;
    for (const auto& [key, item] : d->items)
      text += (text.empty() ? "" : ", ") + print(pickle, key) + ": " + print(pickle, item);
    return "{" + text + "}";
  }
  return "None";
}
std::string value_of(const std::string& program) {
  const Pickle pickle = parse(program);
  return print(pickle, pickle.root);
}

}  // namespace

TEST_CASE("plain values") {
  CHECK(value_of("N.") == "None");
  CHECK(value_of("\x88.") == "True");
  CHECK(value_of("\x89.") == "False");
  CHECK(value_of("K\xff.") == "255");
  CHECK(value_of("M\x34\x12.") == "4660");
  CHECK(value_of("J\xfe\xff\xff\xff.") == "-2");
  CHECK(value_of("\x8a\x00."s) == "0");
  CHECK(value_of("\x8a\x01\xff.") == "-1");
  CHECK(value_of("\x8a\x01\x40.") == "64");
  CHECK(value_of("\x8a\x02\x00\x80."s) == "-32768");
  CHECK(value_of("\x8a\x05\x00\x00\x00\x00\x01."s) == "4294967296");
  CHECK(value_of("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80."s) == "-9223372036854775808");
  CHECK(value_of("G\xc0\x04\x00\x00\x00\x00\x00\x00."s) == "-2.5");
  CHECK(value_of("X\x02\x00\x00\x00\xc3\xa9."s) == "'\xc3\xa9'");
  CHECK(value_of("\x8c\x02hi.") == "'hi'");
  CHECK(value_of("\x8d\x02\x00\x00\x00\x00\x00\x00\x00hi."s) == "'hi'");
}

TEST_CASE("containers") {
  CHECK(value_of(").") == "()");
  CHECK(value_of("N\x85.") == "(None)");
  CHECK(value_of("K\1K\2\x86.") == "(1, 2)");
  CHECK(value_of("K\1K\2K\3\x87.") == "(1, 2, 3)");
  CHECK(value_of("(K\1K\2K\3K\4t.") == "(1, 2, 3, 4)");
  CHECK(value_of("]K\1a(K\2K\3e.") == "[1, 2, 3]");
  CHECK(value_of("}K\1Ns(K\2K\3K\4K\5u.") == "{1: None, 2: 3, 4: 5}");
  CHECK(value_of("((K\1tK\2t.") == "((1), 2)");
}

TEST_CASE("stored values are shared, not copied") {
  CHECK(value_of("]q\0h\0\x86."s) == "([], [])");
  CHECK(value_of("K\7q\5h\5\x86.") == "(7, 7)");
  CHECK(value_of("K\7r\1\2\3\4j\1\2\3\4\x86.") == "(7, 7)");
  CHECK(value_of("K\7\x94K\x08\x94h\0h\1\x86\x87."s) == "(7, 8, (7, 8))");
  const Pickle shared = parse("]q\1(h\1h\1h\1h\1t\x86.");
  CHECK(shared.values.size() == 3);
  // A list that contains itself is just a list with its own index.
  const Pickle knot = parse("]q\1h\1a.");
  CHECK(std::get<PickleList>(knot.values[0]).items == std::vector<int>{0});
}

TEST_CASE("functions are named, not called") {
  CHECK(value_of("ctorch\nFloatStorage\n.") == "torch.FloatStorage");
  CHECK(value_of("ctorch._utils\n_rebuild_tensor_v2\nK\1\x85R.") == "torch._utils._rebuild_tensor_v2*(1)");
  CHECK(value_of("\x8c\x05torch\x8c\x0c"
                 "FloatStorage\x93.") == "torch.FloatStorage");
  CHECK(value_of("\x8c\1aK\1\x86Q.") == "stored('a', 1)");
  CHECK(value_of("ccollections\nOrderedDict\n)RK\1K\2s}b.") == "{1: 2}");
}

TEST_CASE("frames and protocols") {
  CHECK(value_of("\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N."s) == "None");
  CHECK(parse_error("\x80\x06N.").find("protocol 6, at most 5") != std::string::npos);
}

TEST_CASE("functions that are not allowed") {
  CHECK(parse_error("cos\nsystem\n\x8c\2ls\x85R.") ==
        "runtime_error: p: the pickle names \"os.system\" at byte 0, which no state_dict needs (save "
        "model.state_dict() alone)");
  CHECK(parse_error("\x8c\2os\x8c\6system\x93.").find("\"os.system\" at byte 12") != std::string::npos);
  CHECK(parse_error("cbuiltins\neval\n.").find("\"builtins.eval\"") != std::string::npos);
  CHECK(parse_error("ctorch\nFloatStorage2\n.").find("\"torch.FloatStorage2\"") != std::string::npos);
  CHECK(parse_error("c\x1b[2J\n\n.").find("\"\\x1b[2J.\"") != std::string::npos);
}

TEST_CASE("opcodes that are not supported") {
  CHECK(parse_error("N(ios\nsystem\n.") == "runtime_error: p: pickle opcode INST at byte 2 is not supported");
  CHECK(parse_error("\xff") == "runtime_error: p: pickle opcode 0xff at byte 0 is not supported");
  CHECK(parse_error("\x81").find("NEWOBJ") != std::string::npos);
  CHECK(parse_error("2").find("DUP") != std::string::npos);
  CHECK(parse_error("\x8b").find("LONG4") != std::string::npos);
}

TEST_CASE("malformed programs") {
  const std::pair<std::string, const char*> cases[] = {
      {"", "at byte 0: it ends early"},
      {"N", "at byte 1: it ends early"},
      {"J\1\2", "it ends early"},
      {"X\xff\xff\xff\xffhi.", "at byte 0: it ends early"},
      {"\x8d\xff\xff\xff\xff\xff\xff\xff\xffhi.", "it ends early"},
      {"\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "it ends early"},
      {"ctorch", "it ends early"},
      {"ctorch\nFloat", "it ends early"},
      {"\x8a\x08\1", "it ends early"},
      {"\x8a\x09\1\1\1\1\1\1\1\1\1.", "an integer of 9 bytes, at most 8"},
      {"\x8c\1\xff.", "a string that is not UTF-8"},
      {".", "STOP with 0 values"},
      {"NN.", "STOP with 2 values"},
      {"N(.", "STOP"},
      {"t.", "no mark on the stack"},
      {"\x85.", "too few values"},
      {"N(\x85.", "too few values"},
      {"N(Q.", "too few values"},
      {"q\1.", "too few values"},
      {"h\1.", "nothing was stored under 1"},
      {"NNa.", "expected a list, found None"},
      {"NK\1K\2s.", "expected a dict, found None"},
      {"}(K\1u.", "a key without a value"},
      {"NNR.", "expected a tuple, found None"},
      {"N)R.", "expected a function, found None"},
      {"NN\x93.", "expected a string, found None"},
      {"N}b.", "expected a dict, found None"},
      {"ccollections\nOrderedDict\nK\1\x85R.", "an OrderedDict with arguments"},
  };
  for (const auto& [program, words] : cases) {
    CAPTURE(words);
    const std::string error = parse_error(program);
    CHECK_MESSAGE(error.starts_with("runtime_error: p: malformed pickle at byte "), error);
    CHECK_MESSAGE(error.find(words) != std::string::npos, error);
  }
  CHECK(parse_error("N.N") == "runtime_error: p: 1 bytes after the end of the pickle");
}

TEST_CASE("size and time are bounded") {
  const std::size_t limit = 4 << 20;
  CHECK(parse_error(std::string(limit + 1, 'N')).find("at most 4194304") != std::string::npos);
  // The programs that make most of their bytes: values, marks, stored values, nesting.
  CHECK(parse("(" + std::string(limit - 3, '}') + "t.").values.size() == limit - 2);
  CHECK(parse_error(std::string(limit, '(')).find("it ends early") != std::string::npos);
  std::string nested = "N";
  nested.append(limit - 2, '\x85');
  CHECK(parse(nested + ".").values.size() == limit - 1);
  std::string shared = "]q\1(";
  while (shared.size() < limit - 2) shared += "h\1";
  CHECK(parse(shared + "e.").values.size() == 1);
}

TEST_CASE("mutated pickles either parse or say why not") {
  const std::string good =
      "\x80\x02"
      "ccollections\nOrderedDict\nq\0)Rq\1(X\1\0\0\0wq\2ctorch._utils\n_rebuild_tensor_v2\nq\3("
      "(X\7\0\0\0storageq\4ctorch\nFloatStorage\nq\5X\1\0\0\0"
      "0q\6X\3\0\0\0cpuq\7K\4tq\x08QK\0K\2K\2\x86q\x09"
      "K\2K\1\x86q\x0a\x89h\0)Rq\x0btq\x0cRq\x0du}X\1\0\0\0mq\x0eh\0)Rq\x0fsb."s;
  CHECK(value_of(good) ==
        "{'w': torch._utils._rebuild_tensor_v2*(stored('storage', torch.FloatStorage, '0', 'cpu', 4), 0, (2, "
        "2), (2, 1), False, {})}");
  Attempts attempts;
  const auto attempt = [&](const std::string& program) { attempts.count([&] { parse(program); }); };
  for (std::size_t i = 0; i < good.size(); ++i) {
    attempt(good.substr(0, i));
    for (int value = 0; value < 256; ++value) {
      std::string bad = good;
      bad[i] = char(value);
      attempt(bad);
    }
  }
  for (std::uint64_t n = 0; n < 5000; ++n) {
    std::string bad = good;
    for (std::uint64_t k = 0; k < 3; ++k)
      bad[random_below(5, 8 * n + 2 * k, std::uint32_t(bad.size()))] =
          good[random_below(5, 8 * n + 2 * k + 1, std::uint32_t(good.size()))];
    attempt(bad);
  }
  CHECK(attempts.loaded > 500);
  CHECK(attempts.refused > 5000);
}
