"""The CPU port of airbench94 that scripts/bench_record.py measures: changes made in memory to a file that the user has.

The file is that of github.com/KellerJordan/cifar10-airbench. Nothing of it is kept here but the shortest strings that
find the places to change: weights are fp32 and the network computes in bf16 autocast where they were half precision, a
clock of the system stands in for CUDA events, one run of a given seed is made, without a warm-up, and the test images
are evaluated once, at its end.
"""

from __future__ import annotations

from typing import NamedTuple

from dlassign.errors import UserError

FILE = "legacy/airbench94.py of github.com/KellerJordan/cifar10-airbench"
COMMIT = "f1c599c4af24aca803e3e65a6a7e52a502e09d0e"
HEAD = '''\
import time

import torch

torch.manual_seed({seed})


class Clock:
    """Stands in for a CUDA event."""

    def record(self):
        self.at = time.perf_counter()

    def elapsed_time(self, later):
        return 1e3 * (later.at - self.at)


class InBfloat16(torch.nn.Sequential):
    """Weights in fp32, products in bf16, scores in fp32."""

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            scores = super().forward(x)
        return scores.float()


'''


class Place(NamedTuple):
    """What is changed, the string that finds it, how often that must be there, and what stands there instead."""

    what: str
    found: str
    times: int
    new: str


PLACES = (
    Place("the number of epochs", "'train_epochs': 9.9", 1, "'train_epochs': {epochs:g}"),
    Place("the views of a test image", "'tta_level': 2", 1, "'tta_level': {views}"),
    Place("the images' type", "self.images.half()", 1, "self.images.float()"),
    Place("the images' device", "torch.device(gpu)", 1, "'cpu'"),
    Place("the network's forward", "net = nn.Sequential(", 1, "net = InBfloat16("),
    Place("the network's type and device", "net.half().cuda()", 1, "net"),
    Place("the clock", "torch.cuda.Event(enable_timing=True)", 2, "Clock()"),
    Place("the wait for the device", "torch.cuda.synchronize()", 3, "pass"),
    Place(
        "the evaluation after each epoch",
        "evaluate(model, test_loader, tta_level=0)",
        1,
        "evaluate(model, test_loader) if {views} and current_steps >= total_train_steps else None",
    ),
    Place("the warm-up, left out", "#main('warmup')", 1, ""),
    Place("the number of runs", "range(25)", 1, "range(1)"),
)


def ported(code: str, *, epochs: float, views: int, seed: int) -> str:
    """Return the program that trains on the CPU once and reads `cifar10/train.pt` and `test.pt` of its folder.

    Args:
        code: the file's text.
        epochs: length of the training, a fraction too.
        views: its level of test-time augmentation: 0 the image alone, 1 its mirror image too, 2 both moved too.
        seed: of weights, order and augmentation.

    Raises:
        UserError: a place to change is not there as often as expected, or something of a GPU would remain.
    """
    for place in PLACES:
        count = code.count(place.found)
        if count != place.times:
            where = f"{place.what} (`{place.found}`) is there {count} times, expected {place.times}"
            raise UserError(f"{where}; take {FILE} at commit {COMMIT}")
        code = code.replace(place.found, place.new.format(epochs=epochs, views=views))
    for left in (".cuda", ".half("):
        if left in code:
            raise UserError(f"`{left}` remains after the changes for the CPU; take {FILE} at commit {COMMIT}")
    return HEAD.format(seed=seed) + code


def accuracies(line: str) -> tuple[float, float | None] | None:
    """Return the test accuracy, without and with views, of the program's last row; None for any other line."""
    # |  run  |  epoch  |  train_loss  |  train_acc  |  val_acc  |  tta_val_acc  |  total_time_seconds  |
    # |       |   eval  |     1.1000   |     0.9500  |   0.8200  |     0.8300    |           100.0000   |
    # val_acc is empty where no views are asked for: what is evaluated once, at the end, stands in the next column.
    _, epoch, _, _, plain, last, *_ = [*line.strip().strip("|").split("|"), *[""] * 6]
    if epoch.strip() != "eval":
        return None
    return (float(plain), float(last)) if plain.strip() else (float(last), None)
