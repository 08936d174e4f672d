// How a user says what is done to the roundings after a method has run, in words that `quantize` and `table`
// share:
//
//   KIND                erq, adaround, brecq, qdrop, bridge (reconstruct.h), or none
//   KIND:PART:PART...   the same with these parts instead of the kind's own
//   METHOD+KIND...      a method of quantize and what follows it; in tables the name of a row
//   qhyvit+             the best recipe there is: kBestRecipe; with --fast kFastRecipe
#pragma once

#include <string>

#include "quant/reconstruction/reconstruct.h"

namespace qhv {

/// A method and what follows it.
struct Recipe {
  std::string method, reconstruction;  // as above; "none" if nothing follows
};

inline constexpr const char* kBestRecipe = "qhyvit+bridge:roundings:steps";
inline constexpr const char* kFastRecipe = "qhyvit+erq";
inline constexpr const char* kBestName = "qhyvit+";

/// Throws CLI::ValidationError in the name of `option`, listing what there is.
Recipe parse_recipe(const std::string& word, const char* option);

/// The same for what follows a method.
ReconstructOptions parse_reconstruction(const std::string& word, const char* option);

/// "KIND or KIND:PART:...: " and what they mean.
std::string reconstruction_help();

}  // namespace qhv
