"""Do runs end with the same bits, and write the same logs, as before a change of the code?

    python scripts/same_bits.py record FILE    # before the change
    python scripts/same_bits.py compare FILE   # after it, on the same machine: exit code 1 if anything differs

Trains small nets on the embedded digits through the command line, so that it knows nothing of the package's modules.
Of each run it keeps the digest of the last weights and the log without times. Compare on the machine that recorded,
with the same versions of torch and NumPy: another processor adds numbers in another order.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

BASE = """\
name: {name}
device: cpu
data: {{name: digits, split: {{train: 300, val: 100, test: 100}}, preprocess: [{{name: scale, divisor: 16}}]}}
model: {model}
optimizer: {optimizer}
train: {{steps: {steps}, batch_size: 32, log_every: {{steps: 5}}, eval_every: {{steps: 7}}, checkpoint_seconds: 0}}
"""
MLP = "{name: mlp, hidden: [24, 16]}"
VGG = "{name: vgg, stages: [[4], [8]], pool_size: 2, pool_padding: 0, dropout: 0.1}"
ADAM = "{name: adam, lr: 3e-3}"
SGD = "{name: sgd, lr: 0.05, momentum: 0.9, nesterov: true, weight_decay: 1e-3}"
STEPS = 40
RUNS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # name: model, optimizer, changes
    "mlp": (MLP, ADAM, ()),
    "mlp_dropout_batch_norm": ("{name: mlp, hidden: [24], norm: batch, dropout: 0.3}", ADAM, ()),
    "mlp_ema": (MLP, SGD, ("train.average={name: ema, decay: 0.9}",)),
    "mlp_early_stop": (MLP, SGD, ("train.early_stop={patience: 1}", "optimizer.lr=0.5")),
    "mlp_penalty_clip": (MLP, SGD, ("loss.penalty=[{name: l2, coefficient: 1e-3}]", "train.clip={norm: 0.5}")),
    "mlp_rmsprop_warmup": (MLP, "{name: rmsprop, lr: 1e-3}", ("schedule={name: cosine, warmup: {steps: 5}}",)),
    "mlp_test_watched": (MLP, ADAM, ("train.evaluate=[test]", "train.keep=last")),
    "mlp_groups": (MLP, "{name: adamw, lr: 3e-3, groups: [{params: ['*.bias'], lr_factor: 2.0}]}", ()),
    "numpy_mlp": (MLP, ADAM, ("backend=numpy",)),
    "numpy_dropout_batch_norm": ("{name: mlp, hidden: [24], norm: batch, dropout: 0.3}", SGD, ("backend=numpy",)),
    "numpy_double_softmax": (MLP, SGD, ("backend=numpy", "loss={name: double_softmax}", "train.clip={value: 0.1}")),
    "cnn": (VGG, SGD, ("train.precision=fp32",)),
    "cnn_bf16": (VGG, ADAM, ("train.precision=bf16",)),
    "cnn_lookahead_accumulate": (
        VGG,
        SGD,
        ("train.precision=fp32", "train.accumulate=2", "train.average={name: lookahead, decay: 0.9}"),
    ),
    "cnn_frozen": (VGG, SGD, ("train.precision=fp32", "train.freeze=body", "train.unfreeze_at={steps: 11}")),
    "cnn_augment_views": (
        VGG,
        ADAM,
        (
            "train.precision=fp32",
            "data.augment=[{name: flip}, {name: crop, pixels: 1}, {name: mixup, alpha: 0.5}]",
            "train.test_time_augmentation={}",
        ),
    ),
    "cnn_muon": (VGG, "{name: muon, lr: 0.05, rest: {name: sgd, lr: 0.05, momentum: 0.9}}", ("train.precision=fp32",)),
}
KILLED = ("mlp_dropout_batch_norm", "numpy_dropout_batch_norm", "cnn_lookahead_accumulate", "mlp_early_stop")
"""Run a second time, killed after the checkpoint of step 7 or later and gone on with."""
SWEEPS = {
    "stack_mlp": ("mlp_dropout_batch_norm", "optimizer.lr: [1e-3, 1e-2]"),
    "stack_sgd": ("mlp_penalty_clip", "optimizer.lr: [1e-2, 1e-1]"),
    "stack_rmsprop": ("mlp_rmsprop_warmup", "optimizer.lr: [1e-3, 1e-2]"),
    "stack_ema": ("mlp_ema", "optimizer.lr: [1e-2, 1e-1]"),
}
"""Stacks of four: two learning rates, two seeds."""
TIMES = {"seconds", "wall", "time", "images_per_second", "environment", "chain"}


def dlassign(*arguments: str) -> list[str]:
    """Return the command line of the package that this interpreter imports."""
    return [sys.executable, "-m", "dlassign", *arguments]


def environment() -> dict[str, str]:
    """Return an environment in which sums are added in one order."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def write_config(name: str, folder: Path) -> Path:
    """Write the config of a run; returns its file."""
    model, optimizer, _ = RUNS[name]
    file = folder / f"{name}.yaml"
    file.write_text(BASE.format(name=name, model=model, optimizer=optimizer, steps=STEPS))
    return file


def train_command(name: str, folder: Path, out: Path) -> list[str]:
    """Return the command that trains a run."""
    changes = [f"--set={change}" for change in RUNS[name][2]]
    return dlassign("train", "--config", str(write_config(name, folder)), *changes, "--out", str(out), "--json")


def train(name: str, folder: Path) -> dict[str, Any]:
    """Train a run and return what it left."""
    out = folder / f"out-{name}"
    done = subprocess.run(train_command(name, folder, out), env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return left_by(next(out.glob("*/*/log.jsonl")).parent)


def train_killed(name: str, folder: Path) -> dict[str, Any]:
    """Train a run that is killed after step 7 and started again."""
    out = folder / f"killed-{name}"
    process = subprocess.Popen(
        train_command(name, folder, out), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list(out.glob("*/*/checkpoints/last.pt")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(train_command(name, folder, out), env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}, gone on with, failed:\n{done.stderr}")
    return left_by(next(out.glob("*/*/log.jsonl")).parent)


def sweep(name: str, folder: Path) -> dict[str, Any]:
    """Train a stack of four and return what each member left."""
    base, space = SWEEPS[name]
    own = folder / name
    own.mkdir()
    changes = "".join(f"  {change.replace('=', ': ', 1)}\n" for change in RUNS[base][2])
    write_config(base, own)
    file = own / f"{name}.yaml"
    fixed = f"set:\n{changes}" if changes else ""
    file.write_text(f"name: {name}\nbase: {base}.yaml\n{fixed}space: {{{space}}}\nseeds: [0, 1]\n")
    command = dlassign("sweep", "--config", str(file), "--executor", "stacked", "--out", str(own / "out"))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout}\n{done.stderr}")
    found = {}
    for log in sorted(own.glob("out/**/log.jsonl")):
        found[log.parent.name] = left_by(log.parent)
    return found


def left_by(run: Path) -> dict[str, Any]:
    """Return the digest of a run's last weights and its log: without times, and without what a resume has undone."""
    records: list[dict[str, Any]] = []
    for line in (run / "log.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "resume":
            records = [other for other in records if other.get("step", 0) <= record["from_step"]]
        else:
            records.append({key: value for key, value in record.items() if key not in TIMES})
    return {"run": run.name, "weights_sha256": records[-1].get("weights_sha256"), "log": records}


def everything(jobs: int) -> dict[str, Any]:
    """Train everything; returns what was left, by name."""
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(jobs) as pool:
        folder = Path(scratch)
        tasks = {name: pool.submit(train, name, folder) for name in RUNS}
        tasks |= {f"{name}, killed": pool.submit(train_killed, name, folder) for name in KILLED}
        tasks |= {name: pool.submit(sweep, name, folder) for name in SWEEPS}
        return {name: task.result() for name, task in tasks.items()}


def differences(before: Any, after: Any, *, at: str = "") -> list[str]:
    """Return a line for each value that differs, with its place."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        return [
            line for key in keys for line in differences(before.get(key), after.get(key), at=f"{at}.{key}".lstrip("."))
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for i, (one, other) in pairs for line in differences(one, other, at=f"{at}[{i}]")]
    return [] if before == after else [f"{at}: {str(before)[:80]} -> {str(after)[:80]}"]


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    options = parser.parse_args()
    found = json.loads(json.dumps(everything(options.jobs)))
    for name in KILLED:
        if lines := differences(found[name], found[f"{name}, killed"]):
            print(f"{name}: a killed run ends otherwise than an unbroken one", *lines, sep="\n  ")
            return 1
    if options.what == "record":
        options.file.write_text(json.dumps(found, indent=1))
        print(f"recorded {len(found)} runs and stacks in {options.file}")
        return 0
    before = json.loads(options.file.read_text())
    bad = 0
    for name in before:
        lines = differences(before[name], found.get(name))
        bad += bool(lines)
        print(f"{'DIFFERS' if lines else 'same':8} {name}", *lines[:8], sep="\n    ")
    print(f"{len(before) - bad} of {len(before)} the same")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
