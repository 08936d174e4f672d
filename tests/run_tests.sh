#!/usr/bin/env bash
# Runs the test programs of a build folder one after the other and closes with their counts on one line:
#   N passed, N failed, N skipped
# Skipped are tests over development data that is not there. QHYVIT_FORBID_SKIPS=1 makes a skip a failure.
set -u
build=${1:?the build folder}
passed=0 failed=0 skipped=0 broken=0
for tests in "$build/tests_f32" "$build/tests_f64"; do
  log=$(mktemp)
  "$tests" 2>&1 | tee "$log" | grep -vE '^\[doctest\] (doctest version|run with)|^=+$|^skipped for want'
  [ "${PIPESTATUS[0]}" -eq 0 ] || broken=1
  # A program that crashed has printed no counts.
  counts=$(grep -aE '^\[doctest\] test cases:' "$log") || { broken=1; counts="| 0 passed | 0 failed"; echo "$tests crashed"; }
  passed=$((passed + $(sed -nE 's/.*\| *([0-9]+) passed.*/\1/p' <<< "$counts")))
  failed=$((failed + $(sed -nE 's/.*\| *([0-9]+) failed.*/\1/p' <<< "$counts")))
  missed=$(sed -nE 's/^skipped for want of development data: //p' "$log")
  skipped=$((skipped + ${missed:-0}))
  rm -f "$log"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "${QHYVIT_FORBID_SKIPS:-0}" = 0 ] || [ "$skipped" -eq 0 ] || { echo "tests were skipped"; exit 1; }
[ "$failed" -eq 0 ] && [ "$broken" -eq 0 ]
