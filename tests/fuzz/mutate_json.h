// Changes to JSON that a fuzzer of bytes would hardly find: a value somewhere is replaced by one that is
// hostile there. libFuzzer keeps what reaches new code.
#pragma once

#include <nlohmann/json.hpp>
#include <random>

namespace qhv::test {

using Random = std::minstd_rand;

/// One of `count`.
std::size_t draw(Random& random, std::size_t count);

/// A place that exists: level by level a random entry, so that long lists are not all there is.
nlohmann::json::json_pointer random_place(const nlohmann::json& root, Random& random);

/// A limit of some type, another type, something near `current`, or what stands elsewhere in `root`.
nlohmann::json hostile_value(const nlohmann::json& root, const nlohmann::json& current, Random& random);

/// Replaces, removes or doubles a value of `root`.
void mutate_json(nlohmann::json& root, Random& random);

}  // namespace qhv::test
