// A part of integer_vnni.cpp: how many lanes of a vector are meant.
#pragma once

constexpr std::int64_t kLanes = 16;
constexpr std::int64_t kPanelQuad = kPanelColumns * kQuad;  // bytes

/// The first `count` lanes, all of them from 16 on.
__mmask16 first_lanes(std::int64_t count) {
  return count >= kLanes ? __mmask16(0xffff) : __mmask16((1u << count) - 1);
}

constexpr std::int64_t kBytes = 64;

__mmask64 first_bytes(std::int64_t count) {
  return count >= kBytes ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

__mmask32 first_words(std::int64_t count) {
  return count >= 32 ? ~__mmask32{0} : (__mmask32{1} << count) - 1;
}
