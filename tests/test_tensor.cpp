// Values, random numbers, parallel loops and files: what everything else stands on.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <doctest/doctest.h>
#include <filesystem>
#include <functional>
#include <set>
#include <stdexcept>
#include <thread>

#include "tensor/file.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"
#include "tensor/tensor.h"
#include "tests/support.h"

using namespace qhv;
using test::error_of;

namespace {

constexpr std::int64_t kHuge = std::int64_t{1} << 31;

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::size_t files_in(const test::TemporaryFolder& folder) {
  const std::filesystem::directory_iterator entries(folder.path());
  return std::size_t(std::distance(begin(entries), end(entries)));
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("tensor: shape, axes and elements in row-major order") {
  Tensor x({2, 3, 4});
  CHECK(x.rank() == 3);
  CHECK(x.size() == 24);
  CHECK(x.shape() == Shape{2, 3, 4});
  CHECK(x.dim(2) == 4);
  CHECK(x.dim(-1) == 4);
  CHECK(x.dim(-3) == 2);
  CHECK(std::all_of(x.values().begin(), x.values().end(), [](real v) { return v == 0; }));
  for (std::int64_t i = 0; i < x.size(); ++i) x[i] = real(i);
  CHECK(x.at({0, 0, 1}) == 1);
  CHECK(x.at({0, 1, 0}) == 4);
  CHECK(x.at({1, 2, 3}) == 23);
  x.at({1, 0, 2}) = 99;
  CHECK(x[14] == 99);

  CHECK(Tensor({2, 2}, real(7)).at({1, 1}) == 7);
  const TensorI8 from_values({3}, {-128, 0, 127});
  CHECK(from_values.at({0}) == -128);
  CHECK(concat(Shape{1, 3, 256}) == "[1, 3, 256]");
  CHECK(concat(Shape{}) == "[]");
}

TEST_CASE("tensor: a scalar has one element, a fresh tensor and an extent of zero have none") {
  Tensor scalar(Shape{}, real(5));
  CHECK(scalar.rank() == 0);
  CHECK(scalar.size() == 1);
  CHECK(scalar.at({}) == 5);
  CHECK(Tensor().size() == 0);
  CHECK(Tensor().shape() == Shape{0});
  CHECK(Tensor({2, 0, 3}).size() == 0);
  CHECK(Tensor(Tensor()).shape() == Shape{0});
}

TEST_CASE("tensor: misuse is an error that names the shape") {
  const Tensor x({2, 3});
  const auto at = [&x](auto... index) { x.at({index...}); };
  const auto make = [](auto... extents) { Tensor(Shape{extents...}); };
  const std::vector<real> three(3);
  const std::vector<std::pair<std::function<void()>, std::string>> cases{
      {[&] { at(2, 0); }, "[tensor] index 2 out of range in shape [2, 3]"},
      {[&] { at(0, 3); }, "[tensor] index 3 out of range in shape [2, 3]"},
      {[&] { at(0, -1); }, "[tensor] index -1 out of range in shape [2, 3]"},
      {[&] { at(1); }, "[tensor] 1 indices for shape [2, 3]"},
      {[&] { x.dim(2); }, "[tensor] axis 2 of shape [2, 3]"},
      {[&] { x.dim(-3); }, "[tensor] axis -3 of shape [2, 3]"},
      {[&] { x.reshaped(Shape(1, 7)); }, "[reshape] [2, 3] to [7]"},
      {[&] { Tensor(Shape(1, 2), three); }, "[tensor] 3 values for shape [2]"},
      {[&] { make(2, -1); }, "[tensor] negative extent in shape [2, -1]"},
      // Two negative extents have a positive product.
      {[&] { make(-2, -3); }, "[tensor] negative extent in shape [-2, -3]"},
      {[&] { make(kHuge, kHuge, 2); }, "[tensor] shape [2147483648, 2147483648, 2] is too large"},
      {[&] { make(3, kHuge * kHuge); }, "[tensor] shape [3, 4611686018427387904] is too large"},
  };
  for (const auto& [action, text] : cases) CHECK(error_of(action) == "invalid_argument: " + text);
  CHECK(element_count({kHuge, kHuge}) == std::int64_t{1} << 62);
  CHECK(element_count({0, kHuge, kHuge, kHuge}) == 0);
  CHECK(element_count({}) == 1);
}

TEST_CASE("tensor: copies are deep, moves leave an empty tensor, reshaping keeps the elements") {
  Tensor x({2, 2}, {1, 2, 3, 4});
  Tensor copy = x;
  copy[0] = 100;
  CHECK(x[0] == 1);
  Tensor assigned;
  assigned = x;
  assigned[1] = 100;
  CHECK(x[1] == 2);
  const Tensor& same = x;
  x = same;
  CHECK(test::difference(x, Tensor({2, 2}, {1, 2, 3, 4}), 0) == "");

  const real* elements = x.data();
  Tensor moved = std::move(x);
  CHECK(moved.data() == elements);
  CHECK(x.size() == 0);  // NOLINT: the state after a move is part of the contract
  CHECK(x.shape() == Shape{0});
  CHECK(x.values().empty());
  CHECK(Tensor(x).size() == 0);

  const Tensor flat = moved.reshaped({4, 1});
  CHECK(moved.shape() == Shape{2, 2});
  CHECK(test::difference(flat, Tensor({4, 1}, {1, 2, 3, 4}), 0) == "");
  const Tensor stolen = std::move(moved).reshaped({4});
  CHECK(stolen.data() == elements);
}

TEST_CASE("rng: published values, ranges and uniformity") {
  // The first outputs of SplitMix64 from state 0, and FNV-1a's test vectors.
  CHECK(random_bits(0, 0) == 0xE220A8397B1DCDAFu);
  CHECK(random_bits(0, 1) == 0x6E789E6AA1B965F4u);
  CHECK(random_bits(0, 2) == 0x06C45D188009454Fu);
  CHECK(random_bits(0, 3) == 0xF88BB8A8724C81ECu);
  CHECK(seed_of("") == 0xcbf29ce484222325u);
  CHECK(seed_of("a") == 0xaf63dc4c8601ec8cu);
  CHECK(seed_of("foobar") == 0x85944171f73967e8u);
  CHECK(unit_uniform(0, 0) == double(0xE220A8) / double(1 << 24));

  constexpr int kCount = 20000;
  double sum = 0, largest = 0;
  std::vector<int> histogram(7, 0);
  bool in_range = true;
  for (int i = 0; i < kCount; ++i) {
    const double u = unit_uniform(42, std::uint64_t(i));
    in_range &= u >= 0 && u < 1 && double(float(u)) == u;
    sum += u;
    largest = std::max(largest, u);
    const std::uint64_t below = random_below(42, std::uint64_t(i), 7);
    in_range &= below < 7;
    ++histogram[std::size_t(below % 7)];
  }
  CHECK(in_range);
  CHECK(largest > 0.999);
  // Five standard deviations: sqrt(1 / 12 / count) of the mean, sqrt(count * 6 / 49) of a bin.
  CHECK(std::abs(sum / kCount - 0.5) < 5 * std::sqrt(1.0 / 12 / kCount));
  for (const int bin : histogram) CHECK(std::abs(bin - kCount / 7.0) < 5 * std::sqrt(kCount * 6.0 / 49));
}

TEST_CASE("parallel_for: every item once, on at most so many threads") {
  for (const int threads : {0, 1, 2, 5})
    for (const std::int64_t count : {0, 1, 3, 100}) {
      std::vector<std::atomic<int>> calls(std::size_t(count) + 1);
      std::vector<std::thread::id> ids(std::size_t(count) + 1);
      parallel_for(count, threads, [&](std::int64_t i) {
        ++calls[std::size_t(i)];
        ids[std::size_t(i)] = std::this_thread::get_id();
      });
      INFO(count << " items, " << threads << " threads");
      for (std::int64_t i = 0; i < count; ++i) CHECK(calls[std::size_t(i)] == 1);
      CHECK(calls.back() == 0);
      const std::set<std::thread::id> used(ids.begin(), ids.end() - 1);
      CHECK(int(used.size()) <= std::max(1, threads));
      if (threads <= 1 && count) CHECK(used == std::set{std::this_thread::get_id()});
    }
}

TEST_CASE("parallel_for: two threads work at the same time, and no more than asked for") {
  // Each item waits until the other has begun; a loop on one thread would run into the time limit.
  std::atomic<int> begun{0}, met{0};
  parallel_for(2, 2, [&](std::int64_t) {
    ++begun;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (begun < 2 && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    if (begun == 2) ++met;
  });
  CHECK(met == 2);

  for (const int threads : {1, 2, 3}) {
    std::atomic<int> running{0}, excess{0};
    parallel_for(30, threads, [&](std::int64_t) {
      if (++running > threads) ++excess;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // long enough for another thread to come in
      --running;
    });
    CHECK(excess == 0);
  }
}

TEST_CASE("parallel_for: an exception stops the handing out and reaches the caller") {
  for (const int threads : {1, 2, 5}) {
    std::atomic<int> running{0}, started{0};
    const auto work = [&](std::int64_t i) {
      ++started;
      if (i == 3) throw std::runtime_error("item 3 failed");
      ++running;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      --running;
    };
    INFO(threads << " threads");
    CHECK(error_of([&] { parallel_for(400, threads, work); }) == "runtime_error: item 3 failed");
    CHECK(running == 0);   // all threads have ended
    CHECK(started < 200);  // a few in truth, but another thread may be slow to hear of it
  }
}

TEST_CASE("files: what is written is read back, and replaced as a whole") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "file";
  write_file(path, "first");
  CHECK(text_of(read_file(path)) == "first");
  const std::string binary("a\0b\r\n\xff", 6);
  const auto bytes = std::as_bytes(std::span(binary));
  const std::span<const std::byte> parts[] = {bytes.first(2), {}, bytes.subspan(2)};
  write_file(path, parts);
  CHECK(text_of(read_file(path)) == binary);
  CHECK(text_of(read_file(path, 6)) == binary);
  CHECK(error_of([&] { read_file(path, 5); }) ==
        "runtime_error: " + path + ": has 6 bytes, more than the limit of 5");
  write_file(path, "");
  CHECK(read_file(path).empty());
  CHECK(read_file(path, 0).empty());
  CHECK(files_in(folder) == 1);
}

TEST_CASE("files: what cannot be read or written is said, and nothing is left behind") {
  const test::TemporaryFolder folder;
  const std::string file = folder / "file", missing = folder / "missing", deep = folder / "none/file";
  write_file(file, "kept");
  const auto read_error = [](const std::string& path) { return error_of([&] { read_file(path); }); };
  CHECK(contains(read_error(missing), "runtime_error: " + missing + ": "));
  CHECK(read_error(folder.path()) == "runtime_error: " + folder.path() + ": is a folder, not a file");
  CHECK(read_error("/dev/null") == "runtime_error: /dev/null: is not a regular file");

  // Into a folder that does not exist, below a regular file, and onto a folder.
  const std::string full = folder / "full";
  std::filesystem::create_directory(full);
  write_file(full + "/file", "kept");
  for (const std::string& path : {deep, file + "/below", full}) {
    INFO(path);
    const std::string expected = "runtime_error: " + path + ": cannot be written (";
    CHECK(contains(error_of([&] { write_file(path, "text"); }), expected));
    CHECK(contains(error_of([&] { require_writable(path); }), expected));
  }
  CHECK(text_of(read_file(full + "/file")) == "kept");

  CHECK(error_of([&] { require_writable(file); }) == "no error");
  CHECK(error_of([&] { require_writable(missing); }) == "no error");
  CHECK(text_of(read_file(file)) == "kept");
  CHECK(files_in(folder) == 2);  // "file" and "full": no temporary, and "missing" was not made
}
