#!/usr/bin/env bash
# What post-training quantisation costs, in three minutes and without a download: the networks in models/pretrained, in float
# and by every method at 8, 6 and 4 bits, on synthetic test images. Argument: the build folder.
set -eu
cd "$(dirname "$0")/.."
build=${1:?the build folder}
models=(models/pretrained/synthetic_{mobilevit_xxs,mobilevitv2_050}.safetensors)
images=420  # of 21 classes, 20 of each
calibration=16
for model in "${models[@]}"; do
  [ -f "$model" ] || { echo "$model is missing; it comes with the project: is this checkout complete?" >&2; exit 1; }
done

rm -f "$build"/demo{,_int8}.csv
sets=(--models "${models[@]}" --calib synthetic:calib --images "$calibration" --data "synthetic:test:$images")
SECONDS=0
"$build/qhyvit" table "${sets[@]}" --bits 8/8,6/6,4/4 --out "$build/demo.csv" --plot "$build/demo.svg"
printf '\nBy integer arithmetic alone:\n\n'
"$build/qhyvit" --engine int8 table --full "${sets[@]}" --bits 8/8 --methods percentile --out "$build/demo_int8.csv"
cat << END

Two networks, trained on synthetic images only, on $images test images that they have not seen: in float32, and quantised with
$calibration unlabelled images to 8, 6 and 4 bits ($SECONDS s). "agreement" is the share of images with the float network's answer.
The rows are in $build/demo.csv, a picture of them is $build/demo.svg. Those quantised networks ran as fake-quant, float
arithmetic on values rounded as integers would be, so "latency" shows what integers gain only in the last table, whose networks
have no floating point between the image and the answer. In files a weight takes a byte, with fewer bits too.
All methods: $build/qhyvit quantize --help

With your own checkpoint of a MobileViT (timm or cvnets) and folders of photographs, DIR/<class>/*:
  $build/qhyvit eval MODEL --data DIR
  $build/qhyvit quantize MODEL --calib DIR --method qhyvit --out quantised.safetensors
  $build/qhyvit eval quantised.safetensors --data DIR
END
