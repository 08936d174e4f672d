#!/usr/bin/env bash
# A folder includes only itself and the folders behind it in its line here. tests and experiments see everything.
#   experiments -> models -> quant -> nn -> autograd -> tensor        data -> tensor
set -u
cd "$(dirname "$0")/.." || exit 1
declare -A below=(
  [tensor]='' [autograd]='tensor' [nn]='autograd tensor' [quant]='nn autograd tensor'
  [models]='quant nn autograd tensor' [data]='tensor')
wrong=0
for folder in "${!below[@]}"; do
  [ -d "$folder" ] || continue
  allowed="^($folder${below[$folder]:+|${below[$folder]// /|}})/"
  while IFS=: read -r file line include; do
    target=$(sed -E 's/.*"([^"]+)".*/\1/' <<< "$include")
    if [[ ! $target =~ $allowed ]]; then
      echo "$file:$line: $folder must not include $target"
      wrong=1
    fi
  done < <(grep -rnE '^#include "' "$folder" --include='*.h' --include='*.cpp')
done
[ "$wrong" -eq 0 ] && echo "layers: every folder includes only what is below it"
exit "$wrong"
