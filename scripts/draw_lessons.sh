#!/bin/sh
# Train the lessons and draw the pictures of docs/lessons/. Runs that are there are read, not trained again.
#
#   scripts/draw_lessons.sh [OUT]
set -eu
cd "$(dirname "$0")/.."
out="${1:-out}"
pages=docs/lessons

dlassign reproduce lessons --out "$out" --seeds 5 --page "$pages/measured.md"
draw() { # draw PICTURE TITLE RUNS... : options of plot may follow
    picture="$1" title="$2"
    shift 2
    rm -f "$pages/$picture.png" # plot overwrites no picture that came with the package
    dlassign plot "$@" --x epoch --title "$title" --output "$pages/$picture.png"
}
run() { # run ROW [NUMBER]: prints the folder of a run of that row in the lessons' table
    python -c 'import json, sys; print({row["row"]: row for row in json.load(open(sys.argv[1]))["rows"]}[sys.argv[2]]["runs"][int(sys.argv[3])])' \
        "$out/tables/lessons.json" "$1" "${2:-0}"
}
draw double_softmax "A softmax taken twice" $(run double_softmax) $(run one_softmax) --split train
draw collapse "Weights of .001 against He's" $(run collapse) $(run collapse_he) --split train --split val
draw running_accuracy "Accuracy while an epoch trains, and after it" $(run running_accuracy)
draw best_of_many "A hundred looks at the test set, five seeds" $(for i in 0 1 2 3 4; do run best_of_many $i; done) \
    --split test --metric accuracy
draw sigmoid "Sigmoids, one layer and five, against tanh" $(run sigmoid_one) $(run sigmoid_deep) $(run tanh_deep) --split train --split val
draw tanh_elu "Five layers of tanh and of ELU, weights of PyTorch and of 1" $(run tanh_deep) $(run elu_deep) $(run tanh_large) $(run elu_large) --split train --split val --log-y
draw diverging "A loss that falls and then grows, and two cures" $(run too_fast) $(run smaller_rate) $(run larger_batch) --split train
draw norm_batch_size "Batch norm and layer norm, batches of 2 and of 128" $(run batch_norm_2) $(run layer_norm_2) $(run batch_norm_128) $(run layer_norm_128) --split train --split val
draw keep_p "Keep .8, drop .2, drop .8" $(run keep_p) $(run inverted) $(run misread) --split train --split val
