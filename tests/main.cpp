// Runs the tests and says how many asked for development data that is not there.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <doctest/doctest.h>

#include "tests/support.h"

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  const int result = context.run();
  std::printf("skipped for want of development data: %d\n", qhv::test::skipped_count());
  return result;
}
