#!/usr/bin/env bash
# The accuracy tables of the paper (Q-HyViT, arXiv 2303.12557, section 4, https://arxiv.org/html/2303.12557v3), with its ImageNet
# checkpoints, over three draws of 32 calibration images:
#
#   partial    convolutions, linear layers and matrix products quantised, at 8 and 6 bits, beside EasyQuant, PTQ4ViT and
#              RepQ-ViT: the paper's main comparison; fqvit and hyq stand in it too, restricted to the same layers
#   full       softmax and normalisations too, at 8 and 6 bits: the paper's comparison with FQ-ViT; and HyQ, which is later
#   ablation   scale, granularity, scheme, bridge block one after the other, at 8 and 6 bits: the paper's ablation
#
# and two that the paper does not have, below 8 bits, with the first and the last layer at 8 and 256 images to learn from:
#
#   low        the search alone and with what follows it, at 4 x 8 and 4 bits
#   rounding   what follows it, one ingredient after the other, at the same bits: equalization, bias correction, roundings
#              layer by layer, by blocks, by bridge blocks, steps, dropping; and least squares, alone and before gradients
#
# The published numbers stand there; those of float32 are timm's.
#
#   experiments/paper.sh partial|full|ablation|low|rounding MODELS_DIR CALIB_DIR VAL_DIR OUT_DIR [options of qhyvit table]
#
# MODELS_DIR holds checkpoints (*.safetensors, *.pt) under any names, for example timm's mobilevit_{xxs,xs,s} and
# mobilevitv2_{050,...,200}; CALIB_DIR training images, VAL_DIR/<class>/* the validation set. cvnets' own ImageNet
# checkpoints want --bgr, so they need a folder of their own. OUT_DIR gets <table>.csv, .md and .svg. Interrupted, the same
# command goes on where it stopped. Options that are given replace those below; --limit 1000 is a first impression.
set -eu
usage="usage: $0 partial|full|ablation|low|rounding MODELS_DIR CALIB_DIR VAL_DIR OUT_DIR [options of qhyvit table]"
fail() { echo "$0: $2" >&2; exit "$1"; }

[ $# -ge 5 ] || { echo "$usage" >&2; exit 2; }
table=$1 models_dir=$2 calib=$3 val=$4 out=$5
shift 5
case $table in
  partial) defaults=("--methods easyquant,ptq4vit,repq,fqvit,hyq,qhyvit-released,qhyvit") ;;
  full) defaults=("--methods fqvit,hyq,qhyvit-released,qhyvit" "--full") ;;
  ablation) defaults=("--methods ablation") ;;
  low) defaults=("--methods percentile,qhyvit,percentile+erq,qhyvit+" "--bits 4/8,4/4" "--ends-bits 8") ;;
  rounding)
    bridge=qhyvit+bridge:roundings
    defaults=("--methods ablation-fisher,ablation-equalization,qhyvit,qhyvit+adaround,qhyvit+brecq:roundings,$bridge,$bridge:steps,\
$bridge:steps:drop,qhyvit+erq,qhyvit+bridge:ridge:descent:roundings,qhyvit+bridge:ridge:descent:roundings:steps:biases:drop" \
      "--bits 4/8,4/4" "--ends-bits 8") ;;
  *) echo "$usage" >&2; exit 2 ;;
esac
defaults+=("--bits 8/8,6/6" "--images 32" "--seeds 3")  # the first of a name counts

program=$(dirname "$0")/../build/qhyvit
[ -x "$program" ] || fail 1 "there is no $program; build it by make"
for dir in "$models_dir" "$calib" "$val"; do [ -d "$dir" ] || fail 1 "$dir is not a folder"; done
shopt -s nullglob
models=("$models_dir"/*.safetensors "$models_dir"/*.pt)
[ ${#models[@]} -gt 0 ] || fail 1 "$models_dir has no *.safetensors and no *.pt"
mkdir -p "$out"

chosen=()
for default in "${defaults[@]}"; do
  case " ${chosen[*]} $* " in *" ${default%% *}"[\ =]*) ;; *) read -ra words <<< "$default"; chosen+=("${words[@]}") ;; esac
done
exec "$program" table --models "${models[@]}" --calib "$calib" --data "$val" "${chosen[@]}" \
  --out "$out/$table.csv" --markdown "$out/$table.md" --plot "$out/$table.svg" "$@"
