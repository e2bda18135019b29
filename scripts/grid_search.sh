#!/usr/bin/env bash
# Train one run for every learning rate and batch size, then list them by validation accuracy.
#
#   scripts/grid_search.sh                                      a small grid on the digits, in under a minute
#   CONFIG=configs/cifar10_mlp.yaml LRS='1e-7 1e-6 1e-5 1e-4' BATCHES='200 100 500' OUT=out/uva \
#       scripts/grid_search.sh --device cpu                     the grid of the UvA 2018 report
#
# CONFIG, LRS, BATCHES, SEEDS and OUT come from the environment; arguments go to `dlassign train`. The same command
# again goes on where it was stopped. A failed or diverged trial does not end the search; it is listed at the end.
# `dlassign sweep` does all this and more; this script is for those who would rather read and change twenty lines.
# Exit: 0 all trained; 1 some trials failed or diverged; 2 a mistake in the config; 130 stopped by Ctrl-C.
set -euo pipefail
case ${1-} in -h | --help) sed -n '2,/^# Exit/s/^# \{0,1\}//p' "$0" && exit ;; esac

config=${CONFIG:-$(dirname "$0")/../configs/quickstart.yaml}
read -ra lrs <<<"${LRS:-1e-3 3e-3 1e-2}"
read -ra batches <<<"${BATCHES:-32 128}"
read -ra seeds <<<"${SEEDS:-0}"
out=${OUT:-out/grid}
failed=()
trap 'exit 130' INT TERM # once the trial has written its checkpoint

for lr in "${lrs[@]}"; do for batch in "${batches[@]}"; do for seed in "${seeds[@]}"; do
    trial="optimizer.lr=$lr train.batch_size=$batch seed=$seed"
    echo "== $trial" >&2
    code=0
    dlassign train --config "$config" --set "optimizer.lr=$lr" --set "train.batch_size=$batch" \
        --seed "$seed" --out "$out" "$@" >&2 || code=$?
    case $code in
        0) ;;
        2 | 126 | 127 | 130 | 143) exit "$code" ;; # a wrong config, no dlassign, Ctrl-C, a kill: not the trial's fault
        *) failed+=("$trial (exit $code)") ;;
    esac
done; done; done

dlassign runs "$out" --sort=-val --columns optimizer.lr,train.batch_size,seed,val,status,run
if ((${#failed[@]})); then
    { echo "failed:"; printf '%s\n' "${failed[@]}"; } >&2
    exit 1
fi
