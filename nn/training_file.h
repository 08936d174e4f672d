// A run of training as a file, complete to the last bit: resuming gives the same parameters as not having
// stopped.
//
//   a safetensors file of F32 tensors: param.<name>, average.<name>, first.<name>, second.<name> (the
//   optimiser's moments, for trainable parameters), and under the metadata key "qhyvit.training" a JSON
//   object {version, step, options}, where step counts the optimiser's steps and options is the caller's
//
// Errors: std::runtime_error that begins with the path: not such a file, another version, a tensor that is
// missing, of another shape or not finite, one too many. Files are complete or they are not there.
#pragma once

#include <functional>
#include <string>

#include "nn/training.h"

namespace qhv {

/// `options`: what the caller wants back, any text.
void save_training(const std::string& path, const TrainingState& state, const std::string& options);

/// Fills a state made by begin_training for the same graph and optimiser. `accept` gets the caller's options
/// before anything else is looked at, and throws if they do not fit. On an error `state` is unchanged.
void load_training(const std::string& path, TrainingState& state,
                   const std::function<void(const std::string& options)>& accept);

}  // namespace qhv
