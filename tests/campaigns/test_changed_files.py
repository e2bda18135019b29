"""Any file that dlassign reads may be changed in any way: each command still ends in time, with a plain message."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.guarded import run_guarded
from helpers.mutants import Edit, edits

TRAIN = ("train", "--config", "tiny.yaml")
READ = (
    ("runs", "out"),
    ("plot", "out/tiny", "--output", "p"),
    ("report", "out", "--output", "p.html"),
    ("compare", "out/tiny/8e782059-s0", "out/slow"),
    ("evaluate", "out/tiny/8e782059-s0", "--split", "val"),
)
SWEPT = (
    ("sweep", "--config", "sweep.yaml"),
    ("compare", "out/tiny_sweep:1", "out/tiny_sweep:2"),
    ("plot", "out/tiny_sweep", "--output", "p"),
    ("report", "out/tiny_sweep", "--output", "p.html"),
)
TABLE = (("reproduce", "table.yaml", "--seeds", "1", "--no-train"), ("reproduce", "table.yaml", "--list"))
WEIGHTS = (*READ[1:], ("plot", "out/tiny", "--weights", "--output", "p"))

COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "tiny.yaml": (("check", "tiny.yaml", "--summary"), TRAIN, ("gradcheck", "--config", "tiny.yaml")),
    "slow.yaml": (("check", "slow.yaml"), ("train", "--config", "slow.yaml"), *TABLE),
    "sweep.yaml": (("sweep", "--config", "sweep.yaml", "--list"), SWEPT[0]),
    "search.yaml": (("sweep", "--config", "search.yaml"),),
    "table.yaml": TABLE,
    "pictures.yaml": (("check", "pictures.yaml"), ("train", "--config", "pictures.yaml")),
    "flowers.yaml": (("check", "flowers.yaml"), ("train", "--config", "flowers.yaml")),
    "out/tiny/8e782059-s0/log.jsonl": (*READ, TRAIN, *TABLE),
    "out/tiny/8e782059-s0/manifest.json": (*READ, TRAIN),
    "out/tiny/8e782059-s0/config.yaml": (*READ, TRAIN),
    "out/tiny/8e782059-s0/checkpoints/best.pt": (*WEIGHTS, TRAIN),
    "out/tiny/8e782059-s1/log.jsonl": (*READ, (*TRAIN, "--seed", "1")),
    "out/tiny/8e782059-s1/checkpoints/last.pt": ((*TRAIN, "--seed", "1"), WEIGHTS[-1]),
    "out/tiny_sweep/table.json": SWEPT,
    "out/tiny_sweep/sweep.jsonl": SWEPT,
    "out/tiny_sweep/5bd0447a-s0/log.jsonl": SWEPT,
    "out/search/sweep.jsonl": (("sweep", "--config", "search.yaml"),),
    "out/tables/table.json": (("report", "table", "--output", "p.html"), ("report", "out", "--output", "p.html")),
    "flowers.csv": (("train", "--config", "flowers.yaml", "--again"), ("check", "flowers.yaml")),
    "MNIST/raw/train-images-idx3-ubyte": (("train", "--config", "mnist.yaml"),),
    "cache/*": (("train", "--config", "pictures.yaml", "--again"),),
    "pictures/train/*/*": (
        ("train", "--config", "pictures.yaml", "--again"),
        ("train", "--config", "pictures.yaml", "--again", "--set", "data.skip_bad=false"),
    ),
}


def found(base: Path, pattern: str) -> list[str]:
    """Return the files of the working folder that a pattern names."""
    return sorted(str(path.relative_to(base)) for path in base.glob(pattern))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("pattern", COMMANDS)
def test_a_changed_file(pattern: str, base: Path) -> None:
    files = found(base, pattern)
    if not files and pattern.startswith("out/search/"):
        pytest.skip("made by the extra `search`, which is not installed")
    assert files, f"the working folder has no {pattern}"

    @settings(settings.get_profile("campaign"))
    @given(file=st.sampled_from(files), command=st.sampled_from(COMMANDS[pattern]), data=st.data())
    def ends_in_time_with_a_plain_message(file: str, command: tuple[str, ...], data: st.DataObject) -> None:
        changes: tuple[Edit, ...] = data.draw(edits(file), label="changes")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "work")
            shutil.copytree(base, folder, symlinks=True)
            for change in changes:
                change(folder / file)
            run_guarded(command, folder)

    ends_in_time_with_a_plain_message()
