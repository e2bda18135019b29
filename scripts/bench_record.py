"""Our fast recipes beside a CPU port of airbench94, on the same images: seconds from Enter to the accuracy printed.

Each training is a new process with a cold clock, and the two sides take turns. The port is made of a file that you
fetch yourself: legacy/airbench94.py of github.com/KellerJordan/cifar10-airbench (see airbench_port.py). Each whole
measurement adds a row to record.csv beside the page, and the page is drawn from all rows.

Command: python scripts/bench_record.py --recipe cifar10_82 --cifar10-jpeg-root DIR --airbench FILE
         python scripts/bench_record.py --recipe mnist_99 --mnist-root DIR       (leave the machine alone meanwhile)
Exit:    0 the bounds hold, or --quick; 1 one does not, or a training failed
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from airbench_port import COMMIT, FILE, accuracies, ported
from bench_startup import ROOT, facts, parse_options
from dlassign.config.load import load_config
from dlassign.data.load import load_dataset
from dlassign.errors import UserError
from record_page import RECIPES, Row, append_row, config_of, newest, page, read_rows, verdicts

OUTPUT = ROOT / "docs" / "benchmarks" / "record.md"
LABEL = "cifar10-jpeg"
MNIST = "mnist_99"
ONE_STEP = ("train.epochs=null", "train.steps=1", "data.augment=[]")  # some augmentations need more steps
PORT_EPOCHS = {"cifar10_82": 2.5}
"""Of the port where none are given."""
SHORT = 0.01
"""Epochs of a port that does not count."""


@dataclass(frozen=True)
class Turn:
    """One training.

    Attributes:
        seconds: from Enter to the accuracy printed.
        plain: test accuracy.
        views: with test-time augmentation, or None.
        config: of ours, the config's fingerprint.
        precision: of ours, what it computed in.
    """

    seconds: float
    plain: float
    views: float | None
    config: str = ""
    precision: str = ""


@dataclass(frozen=True)
class Bench:
    """The two sides. folder: of all that is written; airbench: text of the file, or ""."""

    options: argparse.Namespace
    folder: Path
    airbench: str

    @property
    def images(self) -> bool:
        """Whether the data is a folder of images, which are decoded."""
        return bool(self.options.recipe != MNIST)

    @property
    def where(self) -> tuple[str, ...]:
        """Overrides of the recipe: its data, and that it is short."""
        root = (self.options.cifar10_jpeg_root if self.images else self.options.mnist_root).absolute()
        folder = ("data.name=image_folder", f"data.label={LABEL}", f"data.cache={self.folder / 'cache'}")
        return (f"data.root={root}", *folder * self.images, *ONE_STEP * self.options.quick)

    def ours(self, seed: int, *more: str) -> Turn:
        """Train the recipe, with more overrides."""
        where = [part for one in (*self.where, *more) for part in ("--set", one)]
        out = str(self.folder / f"out-{time.monotonic_ns()}")
        command = [sys.executable, "-m", "dlassign", "train", config_of(self.options.recipe), *where]
        seconds, found = watched([*command, "--seed", str(seed), "--out", out, "--json"], ROOT, our_result)
        if "test_maximum" in found:
            sys.exit(f"{config_of(self.options.recipe)}: evaluates the test images while it trains; expected: once")
        return Turn(
            seconds,
            found["test"]["accuracy"],
            found.get("test_tta", {}).get("accuracy"),
            Path(found["run"]).name.rpartition("-s")[0],
            found["precision"],
        )

    def port(self, seed: int, epochs: float) -> Turn:
        """Train the port, for a fraction of an epoch too."""
        program = self.folder / f"port-{seed}.py"
        code = ported(self.airbench, epochs=epochs, views=self.options.port_views, seed=seed)
        program.write_text(code, encoding="utf-8")
        seconds, (plain, views) = watched([sys.executable, "-u", str(program)], self.folder, accuracies)
        return Turn(seconds, plain, views)

    def write_tensors(self) -> None:
        """Write the images as the port reads them: (N, H, W, C) uint8."""
        dataset = load_dataset(load_config(ROOT / config_of(self.options.recipe), self.where).data)
        assert dataset.test is not None
        (self.folder / "cifar10").mkdir()
        for name, split in (("train", dataset.train), ("test", dataset.test)):
            images = torch.as_tensor(split.x).permute(0, 2, 3, 1).contiguous()
            data = {"images": images, "labels": torch.as_tensor(split.y), "classes": list(dataset.classes)}
            torch.save(data, self.folder / "cifar10" / f"{name}.pt")


def our_result(line: str) -> dict[str, Any] | None:
    return json.loads(line) if line.startswith("{") else None


def watched(command: list[str], folder: Path, read: Callable[[str], Any]) -> tuple[float, Any]:
    """Run a command; return the seconds until it printed the line that `read` understands, and what that says.

    Raises:
        UserError: it failed.
    """
    found = None
    with tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if found is None and (found := read(line)) is not None:
                    seconds = time.perf_counter() - began
        if process.returncode or found is None:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or ["it printed no accuracy"])[-1]
            raise UserError(f"{' '.join(command[:5])}: exit {process.returncode}: {last}")
    return seconds, found


class Measured(NamedTuple):
    """Turns of ours and of the port, seconds that decoding for the first time adds, and whether no turn failed."""

    own: list[Turn]
    others: list[Turn]
    decoding: str
    complete: bool = True


def measure(bench: Bench) -> Measured:
    """Let the two sides take turns; those before one that fails are kept."""
    options, decoding = bench.options, ""
    bench.ours(0, *ONE_STEP)  # from here on its images are decoded, and what both read is in the system's cache
    if bench.images and options.seeds:
        empty = f"data.cache={bench.folder / 'cache-2'}"
        first, second = (bench.ours(0, *ONE_STEP, empty).seconds for _ in range(2))
        decoding = f"{first - second:.1f}"
    if options.port_seeds:
        bench.write_tensors()
        bench.port(0, SHORT)
    own: list[Turn] = []
    others: list[Turn] = []
    for seed in range(max(options.seeds, options.port_seeds)):
        sides = [("dlassign", bench.ours, own)] if seed < options.seeds else []
        sides += [("airbench94", partial(bench.port, epochs=options.port_epochs), others)] * (seed < options.port_seeds)
        for name, side, turns in sides[:: -1 if seed % 2 else 1]:
            try:
                turns.append(side(seed))
            except UserError as error:
                if not own:
                    raise
                print(f"seed {seed}: {name} failed, the seeds before are kept: {error}", file=sys.stderr)
                return Measured(own, others, decoding, complete=False)
            print(f"seed {seed}: {name} {turns[-1]}", file=sys.stderr, flush=True)
    return Measured(own, others, decoding)


def joined(values: Iterable[float | None], form: str) -> str:
    return " ".join(f"{value:{form}}" for value in values if value is not None)


def row_of(options: argparse.Namespace, began: Row, found: Measured) -> Row:
    """Return what was measured as a row of record.csv; began: what was known before."""
    own, others, decoding, _ = found
    where = facts("bench_record.py", len(own))
    given = f" --airbench FILE --port-seeds {len(others)} --port-epochs {options.port_epochs:g}" if others else ""
    given += f" --port-views {options.port_views}" if others and options.port_views else ""
    data = "--mnist-root DIR" if options.recipe == MNIST else "--cifar10-jpeg-root DIR"
    return {
        "date": where["Date"],
        **began,
        "recipe": options.recipe,
        "config": own[0].config,
        "precision": own[0].precision,
        "data": "mnist" if options.recipe == MNIST else LABEL,
        "accuracies": joined((turn.plain for turn in own), ".4f"),
        "accuracies_with_views": joined((turn.views for turn in own), ".4f"),
        "seconds": joined((turn.seconds for turn in own), ".2f"),
        "decoding": decoding,
        "port_epochs": f"{options.port_epochs:g}" if others else "",
        "port_accuracies": joined((turn.plain for turn in others), ".4f"),
        "port_accuracies_with_views": joined((turn.views for turn in others), ".4f"),
        "port_seconds": joined((turn.seconds for turn in others), ".2f"),
        "processor": where["Processor"],
        "threads": str(torch.get_num_threads()),
        "system": where["System"],
        "versions": where["Versions"],
        "command": f"python scripts/bench_record.py --recipe {options.recipe} {data} --seeds {len(own)}{given}",
    }


def commit() -> str:
    """Return what git calls this version of the code; "unknown" where it is not a checkout."""
    git = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True)
    head = git(["git", "rev-parse", "--short", "HEAD"]).stdout.strip()
    changed = git(["git", "status", "--porcelain", "src", "configs", "scripts"]).stdout.strip()
    return f"{head or 'unknown'}{' and changes' if changed else ''}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="cifar10_82", help="default: cifar10_82")
    parser.add_argument("--cifar10-jpeg-root", type=Path, metavar="DIR", help="holds train/<class> and test/<class>")
    parser.add_argument("--mnist-root", type=Path, metavar="DIR", help="holds MNIST/raw")
    parser.add_argument("--airbench", type=Path, metavar="FILE", help=f"{FILE}, commit {COMMIT[:7]}")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="of ours (default: 10); 0: try the port out")
    parser.add_argument("--port-seeds", type=int, default=3, metavar="N", help="default: 3; without --airbench none")
    epochs = "so many that it comes near our accuracy (default: 2.5 for cifar10_82)"
    parser.add_argument("--port-epochs", type=float, metavar="X", help=epochs)
    parser.add_argument(
        "--port-views", type=int, choices=(0, 1, 2), default=0, help="its test-time augmentation (default: 0, plain)"
    )
    parser.add_argument("--quick", action="store_true", help="few steps, one seed; judges nothing and keeps no row")
    options = parse_options(parser, OUTPUT)
    needed = "mnist_root" if options.recipe == MNIST else "cifar10_jpeg_root"
    if getattr(options, needed) is None:
        parser.error(f"--recipe {options.recipe} needs --{needed.replace('_', '-')} DIR")
    if options.recipe == MNIST or options.airbench is None:
        options.port_seeds = 0
    if options.port_epochs is None:
        options.port_epochs = PORT_EPOCHS.get(options.recipe)
    if options.quick:
        options.seeds, options.port_seeds, options.port_epochs = 1, min(options.port_seeds, 1), SHORT
    if options.output.suffix == ".csv":
        parser.error("--output is the page, such as record.md; its rows are kept in the .csv file of that name")
    if min(options.seeds, options.port_seeds) < 0:
        parser.error("--seeds and --port-seeds count trainings: give 0 or more")
    if options.seeds + options.port_seeds == 0:
        parser.error("--seeds 0 needs --airbench FILE and --port-seeds")
    if options.port_seeds and options.port_epochs is None:
        parser.error(f"--recipe {options.recipe} needs --port-epochs X, after which the port comes near its accuracy")
    return options


def main() -> int:
    options = parse()
    file = options.output.with_suffix(".csv")
    began = {"commit": commit(), "load": f"{os.getloadavg()[0]:.1f}"}
    with tempfile.TemporaryDirectory() as folder:
        try:
            read_rows(file)  # a damaged file ends it here, as does a wrong one below
            airbench = options.airbench.read_text(encoding="utf-8") if options.port_seeds else ""
            if airbench:
                ported(airbench, epochs=options.port_epochs, views=options.port_views, seed=0)
            found = measure(Bench(options, Path(folder), airbench))
        except UnicodeDecodeError:
            sys.exit(f"bench_record.py: {options.airbench}: is not text in UTF-8; expected {FILE}")
        except (UserError, OSError) as error:
            sys.exit(f"bench_record.py: {error}")
    if not found.own:
        return 0
    row = row_of(options, began, found)
    print(newest(row, judged=not options.quick))
    if not options.quick:
        append_row(file, row)
    rows = read_rows(file)
    options.output.write_text(page([*rows, row] if options.quick else rows, judged=not options.quick), encoding="utf-8")
    return 0 if found.complete and (options.quick or all(holds for holds, _ in verdicts(row))) else 1


if __name__ == "__main__":
    sys.exit(main())
