// What the processor offers, for reports.
#pragma once

#include <string>

namespace qhv {

/// The widest instruction sets that matter here: "avx512-vnni", "avx512", "avx2", or the architecture's name.
std::string cpu_isa();

}  // namespace qhv
