#!/usr/bin/env bash
# Latency against ONNX Runtime, on this machine in this run: bench_peers.sh BUILD_DIR PEERS_DIR OUT.csv
# PEERS_DIR holds ort_bench.mjs and the ONNX models. Without it or without npm there is nothing to compare with.
set -eu
build=$(realpath "${1:?the build folder}") peers=${2:?folder of the peers} out=$(realpath -m "${3:?the table to write}")
here=$(dirname "$(realpath "$0")")
skip() { echo "bench-peers: skipped, $1"; exit 0; }
command -v npm > /dev/null || skip "npm is not installed"
[ -f "$peers/ort_bench.mjs" ] || skip "there is no $peers/ort_bench.mjs"
peers=$(realpath "$peers")

mkdir -p "$build/peers"
cd "$build/peers"
[ -d node_modules/onnxruntime-node ] ||
  npm install --silent --ignore-scripts --no-audit --no-fund onnxruntime-node@1.30.0 > npm.log 2>&1 ||
  skip "onnxruntime-node could not be installed (see $build/peers/npm.log)"
exec node "$here/bench_peers.mjs" "$build/qhyvit" "$peers" "$out"
