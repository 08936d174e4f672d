#!/usr/bin/env bash
# Accuracy and speed of every model of the development data (../shared), as a Markdown table on stdout; the checks go to
# stderr: float32 top-1 within 0.004 of PyTorch's, each 8-bit method within 3 points of float32, `quantize` within 20 s.
set -u
cd "$(dirname "$0")/.." || exit 1
program=${1:?the build folder}/qhyvit
shared=../shared
[ -d "$shared/models" ] || { echo "needs the development data in $shared" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong=0

# number FILE KEY: a number of a JSON result.
number() { sed -nE "s/^ \"$2\": ([0-9.e+-]+),?$/\1/p" "$1"; }
# check WHAT A B TOLERANCE: |A - B| <= TOLERANCE.
check() {
  awk -v a="$2" -v b="$3" -v t="$4" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(d <= t + 1e-9) }' && return
  echo "WRONG: $1: $2, expected $3 +- $4" >&2
  wrong=1
}
# run NAME ARGUMENTS...: the program, its result in $work/NAME.json.
run() { "$program" "${@:2}" --quiet --json "$work/$1.json" || wrong=1; }

# row MODEL EXPECTED TOLERANCE CALIB VAL OPTIONS...: evaluates, quantises by each method, prints a line.
row() {
  local model=$1 expected=$2 tolerance=$3 calib=$4 val=$5
  shift 5
  local name size
  name=$(basename "$model")
  run float eval "$model" --data "$val" "$@"
  local top1; top1=$(number "$work/float.json" top1)
  check "$name float32" "$top1" "$expected" "$tolerance"
  local line; line=$(printf '| %s | %.4f' "$name" "$top1")
  for method in minmax percentile; do
    run quantize quantize "$model" --calib "$calib" --out "$work/q.safetensors" --method "$method" "$@"
    check "$name $method seconds" "$(number "$work/quantize.json" seconds)" 10 10
    run eval eval "$work/q.safetensors" --data "$val"
    local quantised; quantised=$(number "$work/eval.json" top1)
    check "$name $method" "$quantised" "$top1" 0.03
    line=$(printf '%s | %.4f' "$line" "$quantised")
    size=$(number "$work/quantize.json" file_bytes)
  done
  printf '%s | %.2f | %.1f |\n' "$line" "$(awk "BEGIN { print $size / 1e6 }")" "$(number "$work/float.json" images_per_second)"
}

echo "| checkpoint | float32 top-1 | minmax W8A8 | percentile W8A8 | 8-bit file, MB | float32 images/s |"
echo "|---|---|---|---|---|---|"
for arch in mobilevit_xxs mobilevit_xs mobilevit_s mobilevitv2_050 mobilevitv2_075 mobilevitv2_100 mobilevitv2_125; do
  expected=$(tr -d ' \n' < "$shared/models/photo121_fp32.json" | sed -nE "s/.*\"$arch\":\[([0-9.]+),.*/\1/p")
  row "$shared/models/photo121_$arch.safetensors" "$expected" 0.004 \
    "$shared/images/photo121/calib" "$shared/images/photo121/val" --crop-pct 1
done
row "$shared/models/ucm21_mobilevit_xxs.pt" 0.967 0.01 "$shared/images/ucm21/calib" "$shared/images/ucm21/val" \
  --resize 256 --res 224 --mean imagenet --std imagenet
exit "$wrong"
