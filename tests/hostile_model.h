// Quantised models as somebody may write them who means harm: loaded, lowered to integers and run on an image
// as the program does it. The fuzzers of tests/fuzz call these with what they invent, the tests with the
// corpus.
//
// A model that runs or is refused by a std::runtime_error of one short line that begins with its path is
// fine. Any other exception leaves the function, an error of another form as std::logic_error.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

namespace qhv::test {

/// The bytes of a file. With metadata it is a model as the program reads it; without them its network and
/// plan are those of sound_plan(), so that files of a few bytes get as far as the engine. Tensors that it
/// lacks are those of a sound model. Returns the error, or nothing if the model ran.
std::string try_model_file(std::span<const std::byte> bytes);

/// A JSON patch (RFC 6902) of sound_plan(). What is no patch of it is an error as well.
std::string try_plan(std::string_view patch);

/// The full plan of a network of a few channels that has every operator and both kinds of attention.
const nlohmann::json& sound_plan();

}  // namespace qhv::test
