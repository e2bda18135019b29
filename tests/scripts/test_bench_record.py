"""bench_record: a wrong file of airbench94 is refused, and page, ratios and verdicts follow from the kept rows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import airbench_port
import bench_record as bench
import record_page
from dlassign.errors import UserError
from helpers.children import environment

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_record.py"
STAND_IN = """\
import torch
from torch import nn

hyp = {'train_epochs': 9.9, 'tta_level': 2}


class Loader:
    def __init__(self, gpu=0):
        self.images = torch.load("cifar10/test.pt", map_location=torch.device(gpu))["images"].flatten(1)
        self.images = self.images.half()


def evaluate(model, loader, tta_level=0):
    assert model(loader.images).dtype == torch.float32
    return 0.5 + tta_level / 10 + hyp['train_epochs']


def main(run):
    current_steps = total_train_steps = 1
    test_loader = Loader()
    net = nn.Sequential(nn.Linear(3072, 10))
    model = net.half().cuda()
    starter = torch.cuda.Event(enable_timing=True)
    ender = torch.cuda.Event(enable_timing=True)
    starter.record()
    torch.cuda.synchronize()
    torch.cuda.synchronize()
    ender.record()
    torch.cuda.synchronize()
    val_acc = evaluate(model, test_loader, tta_level=0)
    final = evaluate(model, test_loader, hyp['tta_level'])
    assert starter.elapsed_time(ender) >= 0
    print('|', run, '|  eval  |  |  | ', '' if val_acc is None else val_acc, '|', final, '|  1.0  |')


#main('warmup')
for run in range(25):
    main(run)
"""


def row(**changed: str) -> record_page.Row:
    known = {"recipe": "cifar10_82", "accuracies": "0.8300 0.8320", "seconds": "20.00 22.00"}
    return {**dict.fromkeys(record_page.COLUMNS, ""), **known, **changed}


PORT = {"port_epochs": "2.5", "port_accuracies": "0.8310 0.8300", "port_seconds": "100.00 200.00"}


def write_images(folder: Path) -> None:
    """Write 510 training images, more than a batch, and 10 test images of ten classes."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 51), ("test", 1)):
        for label in range(10):
            (folder / part / str(label)).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / str(label) / f"{number}.png")


class TestPort:
    def test_one_run_on_the_cpu(self) -> None:
        code = airbench_port.ported(STAND_IN, epochs=2.5, views=1, seed=3)
        compile(code, "port", "exec")
        assert "'train_epochs': 2.5, 'tta_level': 1" in code
        assert "torch.manual_seed(3)" in code
        assert ".cuda" not in code

    @pytest.mark.parametrize("place", airbench_port.PLACES, ids=lambda place: place.what)
    def test_a_place_that_is_not_as_expected(self, place: airbench_port.Place) -> None:
        for code in (STAND_IN.replace(place.found, "", 1), f"{STAND_IN}\n{place.found}"):
            with pytest.raises(UserError, match=rf"^{place.what} .* times, expected {place.times}; take .*f1c599c4"):
                airbench_port.ported(code, epochs=1, views=0, seed=0)

    def test_a_newer_file_that_asks_for_a_gpu_elsewhere(self) -> None:
        with pytest.raises(UserError, match=r"`\.cuda` remains"):
            airbench_port.ported(f"{STAND_IN}\nloss.cuda()", epochs=1, views=0, seed=0)

    def test_accuracies_are_those_of_the_last_row(self) -> None:
        assert airbench_port.accuracies("|     0  |      1  |  1.2  |  0.5  |  0.6  |   |  3.1  |") is None
        assert airbench_port.accuracies("|        |   eval  |  1.2  |  0.5  |       |  0.61 |  3.1  |") == (0.61, None)
        assert airbench_port.accuracies("|        |   eval  |  1.2  |  0.5  |  0.6  |  0.61 |  3.1  |") == (0.6, 0.61)


class TestPage:
    def test_ratios_go_round_by_round(self) -> None:
        assert record_page.ratios(row(**PORT)) == [0.2, 0.11]
        assert record_page.ratios(row(seconds="20.00 22.00 30.00", **PORT)) == [0.2, 0.11]

    def test_bounds(self) -> None:
        holds = lambda **changed: [one for one, _ in record_page.verdicts(row(**changed))]  # noqa: E731
        assert holds(**PORT) == [True, True, True]
        assert holds(**{**PORT, "port_accuracies": "0.8400 0.8400"}) == [True, True, False]
        assert holds(**{**PORT, "accuracies": "0.8170 0.8190", "seconds": "80 90"}) == [False, False, False]
        assert holds() == [True, False]
        best = {"recipe": "cifar10_best", "accuracies": "0.8960", "accuracies_with_views": "0.9040"}
        assert holds(**{**PORT, **best}) == [True, False, True, True]
        mnist = {"recipe": "mnist_99", "accuracies": "0.9905 0.9904"}
        assert holds(**mnist, seconds="14.0 15.0") == [True, True]
        assert holds(**mnist, seconds="15.0 16.0") == [True, False]

    def test_every_entry_stays_and_the_newest_is_shown(self, tmp_path: Path) -> None:
        file = tmp_path / "record.csv"
        assert record_page.read_rows(file) == []
        old, new = row(commit="old", **PORT), row(commit="new", seconds="10.00 11.00")
        for one in (old, new):
            record_page.append_row(file, one)
        assert record_page.read_rows(file) == [old, new]
        text = record_page.page([old, new])
        assert text.count("| old |") == 1
        assert "| Commit, date | new," in text
        assert "| `cifar10_82` | 2 | 0.8310 [0.8183, 0.8437] |  | 10.5 [10.0, 11.0] |  |" in text
        assert "| 2.5 epochs | 0.8305 [0.8241, 0.8369] | 150.0 [100.0, 200.0] | 0.155 [0.110, 0.200] |" in text

    def test_a_file_with_nothing_in_it_gets_its_header(self, tmp_path: Path) -> None:
        file = tmp_path / "record.csv"
        file.touch()
        record_page.append_row(file, row())
        assert record_page.read_rows(file) == [row()]

    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            (lambda text: text[:-1], r"record\.csv:2: the last line is cut off; take the file back from git"),
            (lambda text: text.replace(b"0.8300", b"abc"), r"record\.csv:2: is no row that bench_record\.py wrote"),
            (lambda text: text.replace(b"cifar10_82", b"other"), r"record\.csv:2: is no row that"),
            (lambda text: text.replace(b"recipe", b"name"), r"record\.csv:2: is no row that"),
            (lambda text: b"date,commit\n2026,a\n", r"record\.csv:2: is no row that"),
            (lambda text: text + b'"2026', r"record\.csv:2: is no row that"),
            (lambda text: text + b"\xff", r"record\.csv: is not text in UTF-8; take it back from git"),
        ],
    )
    def test_a_damaged_file(self, damage: Callable[[bytes], bytes], said: str, tmp_path: Path) -> None:
        file = tmp_path / "record.csv"
        record_page.append_row(file, row())
        file.write_bytes(damage(file.read_bytes()))
        with pytest.raises(UserError, match=said):
            record_page.read_rows(file)


class TestCommandLine:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["--recipe", "mnist_99"], "needs --mnist-root DIR"),
            ([], "needs --cifar10-jpeg-root DIR"),
            (["--seeds", "0", "--cifar10-jpeg-root", "d"], "--seeds 0 needs --airbench"),
            (["--recipe", "cifar10_best", "--cifar10-jpeg-root", "d", "--airbench", "f"], "needs --port-epochs X"),
            (["--cifar10-jpeg-root", "d", "--quick"], "--quick needs --output FILE, another file"),
            (["--cifar10-jpeg-root", "d", "--output", "new.csv"], "--output is the page, such as record.md"),
            (["--cifar10-jpeg-root", "e"], "--cifar10-jpeg-root e: no such folder"),
            (["--cifar10-jpeg-root", "d", "--seeds", "-1"], "count trainings: give 0 or more"),
            (
                ["--cifar10-jpeg-root", "d", "--output", "/proc/none/x.md"],
                "--output /proc/none/x.md: cannot be written",
            ),
        ],
    )
    def test_what_is_missing(
        self,
        given: list[str],
        said: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["bench_record.py", *given])
        monkeypatch.chdir(tmp_path)
        Path("d").mkdir()
        with pytest.raises(SystemExit, match="2"):
            bench.main()
        assert said in capsys.readouterr().err

    def test_a_wrong_file_ends_it_before_anything_is_trained(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "wrong.py").write_text("print('another program')")
        given = [
            "--cifar10-jpeg-root",
            str(tmp_path),
            "--airbench",
            str(tmp_path / "wrong.py"),
            "--output",
            str(tmp_path / "p.md"),
        ]
        monkeypatch.setattr(sys, "argv", ["bench_record.py", *given])
        with pytest.raises(SystemExit, match=r"bench_record\.py: the number of epochs .* expected 1; take .*f1c599c4"):
            bench.main()

    def test_seeds_before_one_that_fails_are_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def ours(self: bench.Bench, seed: int, *more: str) -> bench.Turn:
            if seed == 2:
                raise UserError("train: exit 1: no space left on device")
            return bench.Turn(10.0 + seed, 0.99, None, "hash", "bf16")

        monkeypatch.setattr(bench.Bench, "ours", ours)
        given = ["--recipe", "mnist_99", "--mnist-root", str(tmp_path), "--output", str(tmp_path / "record.md")]
        monkeypatch.setattr(sys, "argv", ["bench_record.py", *given])
        assert bench.main() == 1
        assert "seed 2: dlassign failed, the seeds before are kept: train: exit 1" in capsys.readouterr().err
        (kept,) = record_page.read_rows(tmp_path / "record.csv")
        assert kept["seconds"] == "10.00 11.00"

    def test_a_damaged_record_ends_it_before_anything_is_trained(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "record.csv").write_text("date,commit\n2026,a\n")
        given = ["--recipe", "mnist_99", "--mnist-root", str(tmp_path), "--output", str(tmp_path / "record.md")]
        monkeypatch.setattr(sys, "argv", ["bench_record.py", *given])
        with pytest.raises(SystemExit, match=r"bench_record\.py: .*record\.csv:2: is no row"):
            bench.main()
        assert (tmp_path / "record.csv").read_text() == "date,commit\n2026,a\n"

    def test_a_command_that_fails_is_told_with_its_last_line(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"exit 1: ValueError: no$"):
            bench.watched([sys.executable, "-c", "raise ValueError('no')"], tmp_path, str)
        with pytest.raises(UserError, match=r"exit 0: it printed no accuracy$"):
            bench.watched([sys.executable, "-c", "pass"], tmp_path, str)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # seven processes that import torch; minutes on a busy machine
def test_runs(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    (tmp_path / "port.py").write_text(STAND_IN)
    command = [sys.executable, SCRIPT, "--quick", "--cifar10-jpeg-root", tmp_path / "images", "--port-views", "2"]
    command += ["--airbench", tmp_path / "port.py", "--output", tmp_path / "new" / "record.md"]
    done = subprocess.run(list(map(str, command)), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "new" / "record.md").read_text()
    assert done.stdout.strip() in written
    assert "Data: `cifar10-jpeg`." in written
    assert "| airbench94, 0.01 epochs | 1 | 0.5100 | 0.7100 |" in written
    assert "Not judged" in written
    assert not (tmp_path / "new" / "record.csv").exists(), "a trial is no entry"
