#!/usr/bin/env bash
# Train one point of a grid as one task of a Slurm job array, by plain `dlassign train`. A template to copy and change.
#
#SBATCH --job-name=dlassign
#SBATCH --array=0-5
#SBATCH --time=01:00:00
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --output=slurm-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@60
#
#   scripts/slurm_array.sh --list                               what task 0, 1, 2, ... trains
#   sbatch scripts/slurm_array.sh                               all of them; `--array=0-5%2` runs two at a time
#   SLURM_ARRAY_TASK_ID=3 scripts/slurm_array.sh --device cpu   task 3, here, without Slurm
#
# CONFIG, LRS, BATCHES, SEEDS and OUT come from the environment, as for grid_search.sh; arguments go to `dlassign
# train`. Submit from the project's folder with dlassign on the PATH, and add `#SBATCH --gres=gpu:1` for a GPU.
# Submitting twice trains nothing twice: a finished run returns at once, a stopped one goes on. Sixty seconds before the
# time limit, and on preemption, Slurm sends SIGTERM: dlassign writes a checkpoint, and the task goes back into the
# queue, to go on later. `scancel ID` sends it too; to end a task for good: `scancel --signal=KILL ID`.
# Exit: that of dlassign train; 2 there is no such task.
set -euo pipefail

# sbatch runs a copy of this file from its spool; the project's folder is where it was submitted.
config=${CONFIG:-configs/quickstart.yaml}
read -ra lrs <<<"${LRS:-1e-3 3e-3 1e-2}"
read -ra batches <<<"${BATCHES:-32 128}"
read -ra seeds <<<"${SEEDS:-0}"
out=${OUT:-out/grid}

points=()
for lr in "${lrs[@]}"; do for batch in "${batches[@]}"; do for seed in "${seeds[@]}"; do
    points+=("$lr $batch $seed")
done; done; done

case ${1-} in
    -h | --help) sed -n '2,/^# Exit/{/^#SBATCH/d;s/^# \{0,1\}//p;}' "$0" && exit ;;
    --list)
        for task in "${!points[@]}"; do
            read -r lr batch seed <<<"${points[task]}"
            echo "$task: optimizer.lr=$lr train.batch_size=$batch seed=$seed"
        done
        exit
        ;;
esac

task=${SLURM_ARRAY_TASK_ID:-}
if ! [[ $task =~ ^[0-9]+$ ]] || ((10#$task >= ${#points[@]})); then
    echo "SLURM_ARRAY_TASK_ID is '$task', but the grid has tasks 0 to $((${#points[@]} - 1));" \
        "submit with sbatch --array=0-$((${#points[@]} - 1)), or set it by hand" >&2
    exit 2
fi
read -r lr batch seed <<<"${points[10#$task]}"

# --signal reaches what srun started, so that dlassign gets the SIGTERM and not only this shell.
launch=()
if [[ -n ${SLURM_JOB_ID:-} ]] && command -v srun >/dev/null; then launch=(srun); fi
trap : TERM # preemption sends it to this shell too, which has to outlive dlassign

echo "== task $task: optimizer.lr=$lr train.batch_size=$batch seed=$seed" >&2
code=0
${launch[@]+"${launch[@]}"} dlassign train --config "$config" --set "optimizer.lr=$lr" --set "train.batch_size=$batch" \
    --seed "$seed" --out "$out" "$@" || code=$?
if ((code == 130)) && [[ -n ${SLURM_JOB_ID:-} ]]; then
    echo "stopped with a checkpoint; back into the queue" >&2
    scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}_$task" || true # after preemption it is there already
fi
exit "$code"
