// Pictures by gnuplot, as a child process: the script goes in, the picture comes out, and no file is left
// anywhere. It runs with an environment of its own (locale C) and without the user's settings, so that the
// same script gives the same picture.
//
// Errors: std::runtime_error if gnuplot is not installed or refuses the script, with its own words.
#pragma once

#include <string>

namespace qhv {

/// What gnuplot writes to its output for this script.
std::string run_gnuplot(const std::string& script);

/// `text` as a string of a script: in single quotes, in which gnuplot leaves everything alone but quotes and
/// the end of the line; control characters become spaces.
std::string gnuplot_quoted(const std::string& text);

/// Throws unless gnuplot can be run: to be told before long work, not after it.
void require_gnuplot();

}  // namespace qhv
