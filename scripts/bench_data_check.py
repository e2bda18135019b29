"""What `dlassign data check` costs on 60,000 images of 32x32, and which planted faults it finds.

The images are smooth noise as JPEG files in a temporary folder. Each round decodes them anew, checks them as the first
load does, reads the kept check as every later start does, and checks them as the command does. Faults are planted in
splits of the digits, which come with scikit-learn; the same splits without them must raise no alarm.

Command: python scripts/bench_data_check.py     (two minutes; leave the machine alone meanwhile)
         python scripts/bench_data_check.py --tables 60     (ten minutes of two cores; writes data_check_tables.md)
Exit:    0 every bound holds, each fault is found and nothing else is told, or --quick; 1 otherwise
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from itertools import product
from multiprocessing import Pool
from pathlib import Path
from statistics import NormalDist, median

import numpy as np
from PIL import Image

from bench_startup import keep_measured
from dlassign.config import data as config
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import find_images, load_dataset
from dlassign.data_checks.at_load import check_at_load
from dlassign.data_checks.check import check_data
from dlassign.data_checks.files import headers_of
from dlassign.data_checks.shared_samples import shared_samples
from dlassign.train.device import cpu_name

OUTPUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "data_check.md"
OUTPUT_OF_TABLES = OUTPUT.with_name("data_check_tables.md")
MOST_SECONDS, MOST_SHARE = 2.0, 0.1
PARTS = (
    "decoding",
    "check at the first load",
    "the kept check read",
    "sizes and modes of files read from their headers",
    "the kept ones read",
    "`dlassign data check`, exact part",
)
KINDS = (
    "all answer",
    "some tick one answer all through",
    "the same, every second question asked the other way round",
)
CORRELATIONS = (0.0, 0.3, 0.6, 0.8)
LAZY, MOST_FALSE = 0.1, 1
Rng = np.random.Generator

SMALL = """\
# Equal rows of small tables: copies, or chance?

Made questionnaires of 100, 200, 300 and 1,000 persons, with 4, 8, 12 and 20 questions of 2, 3, 5 and 7 answers. Each
answer follows one opinion of the person so far that two questions correlate by 0, 0.3, 0.6 or 0.8; labels are by coin;
65 % of the rows are train, 15 % val, 20 % test. Written on {date} by

{command}

## Alarms where nothing was copied

Each cell, a size with a correlation, holds {tables} tables. Counted are those with an alarm about equal rows, in two
splits or with two labels. In the second and third line {lazy:.0f} % of the persons tick one answer all through.

| persons | cells | tables with an alarm | most in a cell |
|---|---|---|---|
{false}

{bound}

## Copies that are found

A fifth of test is replaced by rows of train. Of {copied} tables so many raise an alarm, by the correlation of two
questions. The others have a note: rows are equal by chance there, or whether they are copies cannot be told, since
as many rows are equal within train, and those that are equal have others near them.

{found}
"""

TEXT = """\
# What a check of data costs, and what it finds

{n:,} images of 32x32 as JPEG files, five sixths for training, in ten classes. A round decodes them, checks them as the
first load of a set does, reads the check that was kept, as every later start does, and checks them as
`dlassign data check` does. Numbers are medians of seconds over the rounds, smallest and largest in brackets.

| | |
|---|---|
{facts}

{costs}

{bounds}

A table of {rows:,} rows of 8 numbers is checked in {table_seconds:.0f} s, with {table_memory:.2f} GB beside its own
{table_size:.2f} GB.

## Planted faults

Each is planted in {seeds} splits of the 1,797 digits, 8x8 (1,168 train, 269 val, 360 test), each with another seed.
"Found" is an alarm of that name, or a warning where the fault is none that makes results wrong. "Others" are alarms
that name something else.

{faults}

{clean} splits of the digits without a fault: {false} alarms or warnings.

{clean} questionnaires of 1,000 persons, 8 questions with 5 answers that hang together (correlation 0.5), labels by
coin: {by_chance} alarms or warnings. Equal persons in train and test are chance there. With 40 persons of train copied
into test, {copied} of {clean} raise the alarm `equal_across`.
"""


def write_images(folder: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    for row in range(n):
        part = "train" if row % 6 else "test"
        place = folder / part / str(row // 6 % 10)
        place.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8))
        small.resize((32, 32), Image.Resampling.BICUBIC).save(place / f"{row:05}.jpg", quality=75)


def one_round(folder: Path, cache: str) -> list[float]:
    """Return the seconds of each of PARTS."""
    cfg = config.ImageFolder(name="image_folder", root=str(folder / "d"), cache=str(folder / cache))
    marks = [time.perf_counter()]
    images = find_images(cfg)
    assert images is not None
    data = load_dataset(cfg, images=images)
    marks.append(time.perf_counter())
    for _ in range(2):  # the second time it is kept
        check_at_load(data, by=cfg.split.by, folder=folder / cache)
        marks.append(time.perf_counter())
    for _ in range(2):
        headers = headers_of(data, images)
        marks.append(time.perf_counter())
    check = check_data(data, by=cfg.split.by, headers=headers)
    marks.append(time.perf_counter())
    assert not check.flaws, check.flaws
    return np.diff(marks).tolist()


def large_table(rows: int) -> tuple[float, float, float]:
    """Return the seconds that a table takes, and the gigabytes of the check and of the table."""
    rng = np.random.default_rng(0)
    data = dealt(rng.random((rows, 8)), rng.integers(0, 3, rows), 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    check_data(data, by="position")
    seconds = time.perf_counter() - began
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return seconds, more / 2**20, rows * 72 / 2**30


def dealt(x: np.ndarray, y: np.ndarray, seed: int | None) -> Dataset:
    """Return samples split 65:15:20, in a random order if there is a seed."""
    n = len(y)
    if seed is not None and n < 10**6:
        order = np.random.default_rng(seed).permutation(n)
        x, y = x[order], y[order]
    a, b = n * 65 // 100, n * 80 // 100
    train, val, test = (Split(x[rows], y[rows]) for rows in (slice(a), slice(a, b), slice(b, None)))
    classes = tuple(str(k) for k in range(int(y.max()) + 1))
    origin = dict.fromkeys(("train", "val", "test"), "train")
    return Dataset(train=train, val=val, test=test, classes=classes, sha256="", label="digits", origin=origin)


def leak(data: Dataset, rng: Rng) -> Dataset:
    assert data.test is not None
    row, other = rng.integers(len(data.test)), rng.integers(len(data.train))
    data.test.x[row], data.test.y[row] = data.train.x[other], data.train.y[other]
    return data


def two_labels(data: Dataset, rng: Rng) -> Dataset:
    one, other = rng.choice(len(data.train), 2, replace=False)
    data.train.x[one] = data.train.x[other]
    data.train.y[one] = (data.train.y[other] + 1) % len(data.classes)
    return data


def missing_class(data: Dataset, rng: Rng) -> Dataset:
    kept = data.train.y != rng.integers(len(data.classes))
    return replace(data, train=Split(data.train.x[kept], data.train.y[kept]))


def blank(data: Dataset, rng: Rng) -> Dataset:
    data.train.x[rng.integers(len(data.train))] = rng.integers(17)
    return data


def sorted_file(data: Dataset, _: Rng) -> Dataset:
    x, y = (np.concatenate([getattr(split, key) for split in data.splits.values()]) for key in "xy")
    order = np.argsort(y, kind="stable")
    return dealt(x[order], y[order], None)


def on_test(
    change: Callable[[np.ndarray], np.ndarray], *, most: int | None = None
) -> Callable[[Dataset, Rng], Dataset]:
    """Return what changes the test split, and leaves `most` samples of it."""

    def planted(data: Dataset, _: Rng) -> Dataset:
        assert data.test is not None
        return replace(data, test=Split(change(data.test.x[:most]), data.test.y[:most]))

    return planted


FAULTS: dict[str, tuple[str, Callable[[Dataset, Rng], Dataset]]] = {
    "one sample of train is in test, too": ("equal_across", leak),
    "two equal samples of train with two labels": ("two_labels", two_labels),
    "train lacks a class": ("missing_class", missing_class),
    "one blank image": ("blank", blank),
    "a file sorted by class, split by position": ("order_by_class", sorted_file),
    "test inverted": ("changed_split", on_test(lambda x: 16 - x)),
    "test inverted, of 20 samples": ("changed_split", on_test(lambda x: 16 - x, most=20)),
    "test with rows and columns swapped": ("changed_split", on_test(lambda x: x.swapaxes(2, 3))),
    "test upside down": ("changed_split", on_test(lambda x: x[:, :, ::-1])),
    "test mirrored": ("changed_split", on_test(lambda x: x[..., ::-1])),
}


def faults(seeds: int) -> tuple[str, bool]:
    """Return the table of planted faults, and whether each was found each time, without other alarms."""
    digits = load_dataset(config.Digits(name="digits"))
    x, y = (np.concatenate([getattr(split, key) for split in digits.splits.values()]) for key in "xy")
    lines, whole = ["| fault | found | others |", "|---|---|---|"], True
    for name, (kind, plant) in FAULTS.items():
        found = Counter[bool]()
        others = 0
        for seed in range(seeds):
            check = check_data(plant(dealt(x.copy(), y.copy(), seed), np.random.default_rng(seed)), by="position")
            kinds = {flaw.kind for flaw in check.flaws if flaw.level != "note"}
            found[kind in kinds] += 1
            others += bool({flaw.kind for flaw in check.alarms} - {kind})
        whole = whole and not found[False] and not others
        lines.append(f"| {name} | {found[True]} of {seeds} | {others} |")
    return "\n".join(lines), whole


def false_alarms(splits: int) -> int:
    """Return how many alarms and warnings splits without a fault raise."""
    digits = load_dataset(config.Digits(name="digits"))
    x, y = (np.concatenate([getattr(split, key) for split in digits.splits.values()]) for key in "xy")
    checks = [check_data(dealt(x, y, seed), by="position") for seed in range(1000, 1000 + splits)]
    return sum(flaw.level != "note" for check in checks for flaw in check.flaws)


def questionnaire(
    seed: int, n: int = 1000, columns: int = 8, values: int = 5, correlation: float = 0.5, kind: str = KINDS[0]
) -> Dataset:
    """Return answers of n persons that each follow one opinion of the person, in part."""
    rng = np.random.default_rng(seed)
    own = np.sqrt(correlation) * rng.normal(0, 1, (n, 1)) + np.sqrt(1 - correlation) * rng.normal(0, 1, (n, columns))
    answers = np.digitize(own, [NormalDist().inv_cdf(k / values) for k in range(1, values)])
    y = rng.integers(0, 2, n)
    if kind != KINDS[0]:
        lazy = rng.random(n) < LAZY
        answers[lazy] = rng.integers(0, values, (lazy.sum(), 1))
    if kind == KINDS[2]:
        answers[:, ::2] = values - 1 - answers[:, ::2]
    return dealt(answers.astype(float), y, seed)


def questionnaires(n: int) -> tuple[int, int]:
    """Return how many alarms and warnings they raise, and in how many copied persons do."""
    false = copied = 0
    for seed in range(n):
        data = questionnaire(seed)
        false += sum(flaw.level != "note" for flaw in check_data(data, by="position").flaws)
        assert data.test is not None
        data.test.x[:40] = data.train.x[:40]
        copied += "equal_across" in {flaw.kind for flaw in check_data(data, by="position").alarms}
    return false, copied


def small_table(n: int, columns: int, values: int, tables: int) -> list[list[int]]:
    """Return for each correlation how many tables have an alarm: of each of KINDS, and with copies."""
    counts = []
    for correlation in CORRELATIONS:
        false = [
            sum(alarms(questionnaire(seed, n, columns, values, correlation, kind)) for seed in range(tables))
            for kind in KINDS
        ]
        found = 0
        for seed in range(tables // 3):
            data = questionnaire(seed, n, columns, values, correlation)
            assert data.test is not None
            copies = len(data.test) // 5
            data.test.x[:copies] = data.train.x[:copies]
            found += "test" in shared_samples(data)[1]
        counts.append([*false, found])
    return counts


def alarms(data: Dataset) -> bool:
    return any(flaw.level == "alarm" for flaw in shared_samples(data)[0])


def small_tables(tables: int) -> tuple[str, bool]:
    """Return the page of small tables of few values, and whether the bound on false alarms holds."""
    cells = list(product((100, 200, 300, 1000), (4, 8, 12, 20), (2, 3, 5, 7)))
    with Pool() as pool:
        counts = np.array(pool.starmap(small_table, [(*cell, tables) for cell in cells], chunksize=1))
    rows = [
        f"| {kind} | {false.size} | {false.sum()} of {tables * false.size:,} | {false.max()} |"
        for kind, false in zip(KINDS, np.moveaxis(counts[..., :-1], -1, 0), strict=True)
    ]
    lines = ["| rows | columns | values | " + " | ".join(f"{c:g}" for c in CORRELATIONS) + " |", "|---" * 7 + "|"]
    for (n, columns, values), found in zip(cells, counts[..., -1].tolist(), strict=True):
        lines.append(f"| {n:,} | {columns} | {values} | {' | '.join(map(str, found))} |")
    holds = bool(counts[..., :-1].max() <= MOST_FALSE)
    text = SMALL.format(
        tables=tables,
        copied=tables // 3,
        lazy=100 * LAZY,
        false="\n".join(rows),
        found="\n".join(lines),
        bound=f"{'Holds' if holds else 'DOES NOT HOLD'}: at most {MOST_FALSE} of {tables} in each cell.",
        command=f"`python scripts/bench_data_check.py --tables {tables}`",
        date=time.strftime("%Y-%m-%d", time.gmtime()),
    )
    return text, holds


def spread(values: list[float]) -> str:
    return f"{median(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def facts(n: int, rounds: int) -> str:
    """Return where and with what this was measured, as rows of a table."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("dlassign", "numpy", "pillow"))
    rows = {
        "Processor": f"{cpu_name()}, {os.cpu_count()} cores",
        "Versions": f"Python {platform.python_version()}, {versions}",
        "Load when it began": f"{np.array(os.getloadavg()).round(1).tolist()}",
        "Rounds": rounds,
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "Command": f"`python scripts/bench_data_check.py --images {n} --rounds {rounds}`",
    }
    return "\n".join(f"| {key} | {value} |" for key, value in rows.items())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--images", type=int, default=60_000, metavar="N", help="default: 60,000")
    parser.add_argument("--quick", action="store_true", help="600 images, one round, two seeds; judges nothing")
    parser.add_argument("--tables", type=int, metavar="N", help="instead: made questionnaires, so many of each size")
    files = f"default: {OUTPUT.name}, or {OUTPUT_OF_TABLES.name}"
    parser.add_argument("--output", type=Path, metavar="FILE", help=files)
    options = parser.parse_args()
    page = OUTPUT_OF_TABLES if options.tables else OUTPUT
    options.output = options.output or page
    keep_measured(parser, options, page)
    return options


def main() -> int:
    options = parse()
    if options.tables:
        text, holds = small_tables(options.tables)
        options.output.write_text(text, encoding="utf-8")
        print(text)
        return 0 if holds else 1
    n, rounds, seeds, clean, rows = (
        (600, 1, 2, 2, 10_000) if options.quick else (options.images, options.rounds, 20, 200, 10_000_000)
    )
    head = facts(n, rounds)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_images(folder / "d", n)
        costs = [one_round(folder, f"cache-{number}") for number in range(rounds)]
    lines = ["| part | seconds |", "|---|---|"]
    lines += [f"| {part} | {spread([found[k] for found in costs])} |" for k, part in enumerate(PARTS)]
    share = median(found[1] / found[0] for found in costs)
    exact = median(found[-1] for found in costs)
    holds = {
        f"the check at the first load takes {100 * share:.1f} % of decoding, at most {100 * MOST_SHARE:.0f} %": share
        <= MOST_SHARE,
        f"the exact part takes {exact:.2f} s, at most {MOST_SECONDS:g} s": exact <= MOST_SECONDS,
    }
    table_seconds, table_memory, table_size = large_table(rows)
    found, whole = faults(seeds)
    false = false_alarms(clean)
    by_chance, copied = questionnaires(clean)
    bounds = "\n".join(f"* {'Holds' if right else 'DOES NOT HOLD'}: {text}." for text, right in holds.items())
    text = TEXT.format(
        n=n,
        facts=head,
        costs="\n".join(lines),
        bounds="Not judged: a trial of the script." if options.quick else bounds,
        rows=rows,
        table_seconds=table_seconds,
        table_memory=table_memory,
        table_size=table_size,
        seeds=seeds,
        faults=found,
        clean=clean,
        false=false,
        by_chance=by_chance,
        copied=copied,
    )
    options.output.write_text(text, encoding="utf-8")
    print(text)
    right = whole and not false and not by_chance and all(holds.values())
    return 0 if options.quick or right else 1


if __name__ == "__main__":
    sys.exit(main())
