"""`dlassign compare` on made-up logs: what is a group, what counts, and what is said."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scipy import stats

from dlassign.cli.main import main
from dlassign.errors import ConfigError, UserError
from dlassign.stats.proportion import wilson
from dlassign.store.records import read_records
from dlassign.tables.comparison_text import seeds_text
from helpers import report_folder as folder
from helpers.commands import calling
from helpers.synthetic import make_run

compare_command = calling("compare")


def worse(step: int, seed: int, lr: float) -> float:
    return 1.0 + 0.01 * seed + 0.004 * (seed % 3)


def better(step: int, seed: int, lr: float) -> float:
    return 0.5 + 0.01 * seed


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    for seed in range(3):
        make_run(folder, name="a", seed=seed, steps=20, loss=worse)
    for seed in (0, 1, 2, 5):
        make_run(folder, name="b", seed=seed, steps=20, lr=0.2, loss=better)
    return folder


def found(capsys: pytest.CaptureFixture[str], *places: Path | str, **options: Any) -> dict[str, Any]:
    compare_command([str(place) for place in places], as_json=True, **options)
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def said(capsys: pytest.CaptureFixture[str], *places: Path | str, **options: Any) -> str:
    compare_command([str(place) for place in places], **options)
    return " ".join(capsys.readouterr().out.split())


def final(run: Path, split: str = "test", metric: str = "accuracy") -> float:
    return float(read_records(run / "log.jsonl").finals[split][metric])


def edit(run: Path, old: str, new: str) -> None:
    log = run / "log.jsonl"
    text = log.read_text()
    assert old in text
    log.write_text(text.replace(old, new))


class TestNumbers:
    @pytest.mark.parametrize(("split", "metric"), [("test", "accuracy"), ("val", "loss")])
    def test_are_those_of_the_final_figures(
        self, out: Path, capsys: pytest.CaptureFixture[str], split: str, metric: str
    ) -> None:
        got = found(capsys, out / "a", out / "b", split=split, metric=metric)
        a, b = ({int(run.name[10:]): final(run, split, metric) for run in (out / n).glob("*-s*")} for n in "ab")
        assert {run["seed"]: run["value"] for run in got["groups"][1]["runs"]} == b
        one = got["comparisons"][0]
        peer = stats.ttest_rel([b[s] for s in range(3)], [a[s] for s in range(3)])
        ends = peer.confidence_interval()
        assert (one["method"], one["pairs"], one["only_a"], one["only_b"]) == ("paired", [0, 1, 2], [], [5])
        assert [one["p"], one["low"], one["high"]] == pytest.approx([peer.pvalue, ends.low, ends.high])
        assert (got["split"], got["metric"]) == (split, metric)

    def test_table_is_in_percent(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text, got = said(capsys, out / "a", out / "b"), found(capsys, out / "a", out / "b")
        group, one = got["groups"][0], got["comparisons"][0]
        interval = f"{100 * group['low']:.2f} .. {100 * group['high']:.2f}"
        assert f"A {out / 'a'} 3 0-2 {100 * group['mean']:.2f} {100 * group['sd']:.2f} {interval}" in text
        assert f"B - A: {100 * one['difference']:+.2f} points" in text
        means = [sum(run["value"] for run in group["runs"][:3]) / 3 for group in got["groups"]]
        shown = f"whose means are A {100 * means[0]:.2f} and B {100 * means[1]:.2f}"
        assert f"Paired: both have the seeds 0-2, {shown}; left out, as the other has no such seed: 5 of B." in text
        assert one["means"] == pytest.approx(means)
        assert one["difference"] == pytest.approx(means[1] - means[0])
        assert "B is better than A:" in text
        assert "A and B differ in optimizer.lr: 0.1 | 0.2." in text

    def test_lower_loss_is_better(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "B is better than A" in said(capsys, out / "a", out / "b", metric="loss")
        assert "B is worse than A" in said(capsys, out / "b", out / "a", metric="loss")

    def test_seeds_for_an_effect_in_points(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        one = found(capsys, out / "a", out / "b", effect=0.05)["comparisons"][0]
        assert one["seeds"]["effect"] == pytest.approx(0.0005)
        text = said(capsys, out / "a", out / "b", effect=0.05)
        need = one["seeds"]["needed"]
        assert need > 4
        assert f"To see 0.05 points with 80 % power needs {need} seeds each, missing: " in text
        assert f"{one['seeds']['missing_a']} of A and {one['seeds']['missing_b']} of B." in text
        assert one["seeds"]["missing_b"] == need - 4

    def test_three_groups_are_corrected(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for seed in range(3):
            make_run(out, name="c", seed=seed, steps=20, lr=0.3, loss=lambda step, seed, lr: 1.0 + 0.02 * seed)
        ones = found(capsys, out / "a", out / "b", out / "c")["comparisons"]
        low, high = sorted(one["p"] for one in ones)
        assert sorted(one["p_corrected"] for one in ones) == pytest.approx([2 * low, max(2 * low, high)])
        assert [(one["a"], one["b"]) for one in ones] == [("A", "B"), ("A", "C")]
        text = said(capsys, out / "a", out / "b", out / "c")
        assert "(Holm's correction for 2 tests)" in text
        assert "at the 2.5 % level" in text

    def test_validation_where_a_run_has_no_test(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        make_run(out, name="c", seed=0, steps=20, finals=("val",))
        assert found(capsys, out / "a", out / "c")["split"] == "val"
        with pytest.raises(UserError, match="c has no final test accuracy; --split names another"):
            compare_command([str(out / "a"), str(out / "c")], split="test")


class TestGroups:
    def test_folder_hash_run_link_and_log(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = next((out / "a").glob("*-s1"))
        family = out / "a" / run.name[:8]
        (out / "a" / "latest").symlink_to(run.name)
        for place, seeds in [(out / "a", 3), (family, 3), (run, 1), (out / "a" / "latest", 1), (run / "log.jsonl", 1)]:
            assert found(capsys, place, out / "b")["groups"][0]["n"] == seeds
        assert f"* A is one run; {family} takes all 3 of its seeds." in said(capsys, run, out / "b")

    def test_several_groups_are_listed(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(UserError) as caught:
            compare_command([str(out), str(out / "a")])
        lines = str(caught.value).splitlines()
        assert lines[0].startswith(f"{out} holds 2 groups of runs")
        names = [f"{out}/{n}/{next((out / n).glob('*-s0')).name[:8]}" for n in "ab"]
        assert [line.split() for line in lines[1:]] == [
            [names[0], "3", "runs", "optimizer.lr=0.1"],
            [names[1], "4", "runs", "optimizer.lr=0.2"],
        ]
        assert found(capsys, *names)["groups"][1]["n"] == 4

    def test_folders_of_other_names_are_grouped_by_config(
        self, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for i, run in enumerate(sorted((out / "a").glob("*-s*"))):
            shutil.copytree(run, tmp_path / "mine" / f"run{i}")
        assert found(capsys, tmp_path / "mine", out / "b")["groups"][0]["n"] == 3
        shutil.copytree(next((out / "b").glob("*-s0")), tmp_path / "mine" / "other")
        with pytest.raises(UserError, match="holds 2 groups"):
            compare_command([str(tmp_path / "mine"), str(out / "b")])

    @pytest.mark.parametrize("place", ["bb", "b/00000000", "b:1"])
    def test_what_is_not_there(self, out: Path, place: str) -> None:
        with pytest.raises(UserError, match=rf"there is no run.*{place}|b holds no sweep \(there is no table"):
            compare_command([str(out / "a"), str(out / place)])

    def test_what_was_meant(self, out: Path) -> None:
        with pytest.raises(UserError, match=rf"Did you mean {out}/a/[0-9a-f]{{8}}\?"):
            compare_command([str(out / "b"), str(out / "a" / next((out / "a").glob("*-s0")).name[:7])])
        (out / "empty").mkdir()
        with pytest.raises(UserError, match="no runs under"):
            compare_command([str(out / "b"), str(out / "empty")])

    def test_one_run_in_both(self, out: Path) -> None:
        with pytest.raises(UserError, match="hold the same run"):
            compare_command([str(out / "a"), str(next((out / "a").glob("*-s0")))])

    @pytest.mark.parametrize("count", [1, 27])
    def test_number_of_groups(self, out: Path, count: int) -> None:
        with pytest.raises(ConfigError, match="2 to 26 groups"):
            compare_command([str(out / "a")] * count)

    def test_without_a_group_it_is_an_error_of_the_command_line(self) -> None:
        done = CliRunner().invoke(main, ["compare"])
        assert done.exit_code == 2
        assert "Missing argument 'A B...'" in done.stderr


class TestWhatCounts:
    def test_diverged_and_unfinished_runs(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        digest = next((out / "a").glob("*-s0")).name[:8]
        make_run(out, name="a", seed=7, steps=20, nan_from=6, status="diverged")
        make_run(out, name="a", seed=8, steps=20, status=None)
        (out / "a" / f"{digest}-s9").mkdir()
        (out / "a" / f"{digest}-s9" / "log.jsonl").write_text("")
        got, text = found(capsys, out / "a", out / "b")["groups"][0], said(capsys, out / "a", out / "b")
        assert (got["n"], [Path(run).name for run in got["diverged"]]) == (3, [f"{digest}-s7"])
        assert [(Path(r["run"]).name, r["why"]) for r in got["left_out"]] == [
            (f"{digest}-s8", "interrupted at step 20 of 20"),
            (f"{digest}-s9", "unreadable"),
        ]
        assert "A: 1 of 4 runs diverged" in text
        assert "95 % interval Wilson interval diverged A" in text

    def test_nothing_finished(self, out: Path) -> None:
        make_run(out, name="c", seed=0, steps=20, status=None)
        with pytest.raises(UserError, match=r"c: no run has finished: .*-s0 \(interrupted at step 20 of 20\)"):
            compare_command([str(out / "a"), str(out / "c")])

    def test_a_seed_counts_once(self, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        both = tmp_path / "both"
        shutil.copytree(out / "a", both / "one")
        shutil.copytree(next((out / "a").glob("*-s2")), both / "two" / next((out / "a").glob("*-s2")).name)
        got = found(capsys, both, out / "b")["groups"][0]
        assert got["n"] == 3
        assert "seed 2 is there already: " in got["left_out"][0]["why"]

    def test_figure_that_is_not_finite(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = next((out / "a").glob("*-s0"))
        edit(run, f'"loss":{final(run, metric="loss")}', '"loss":null,"nonfinite":["loss"]')
        got = found(capsys, out / "a", out / "b", metric="loss", split="test")["groups"][0]
        assert (got["n"], got["left_out"][0]["why"]) == (2, "it has no final test loss")

    def test_one_seed_has_no_interval(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        a, b = (next((out / n).glob("*-s0")) for n in "ab")
        got, text = found(capsys, a, b), said(capsys, a, b)
        assert (got["groups"][0]["low"], got["comparisons"][0]["p"]) == (None, None)
        assert got["comparisons"][0]["difference"] == pytest.approx(final(b) - final(a))
        assert "A has no interval: one value tells nothing about the spread." in text
        assert "Whether this is chance cannot be said: one value" in text
        assert "nan" not in text


class TestMarks:
    def test_other_data_is_refused(self, out: Path) -> None:
        edit(next((out / "b").glob("*-s1")), '"sha256":"ab"', '"sha256":"cd"')
        with pytest.raises(UserError, match=r"different data: digits \(sha256 ab\) and digits \(sha256 cd\)"):
            compare_command([str(out / "a"), str(out / "b")])

    def test_the_same_rows_with_other_columns_are_compared(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Runs that differ in data.drop were refused, though they are judged on the same rows."""
        for name, sha256 in (("a", "ab"), ("b", "cd")):
            for run in (out / name).glob("*-s*"):
                edit(run, '"sha256":"ab"', f'"sha256":"{sha256}","samples_sha256":"rows"')
        assert found(capsys, out / "a", out / "b")["comparisons"][0]["difference"] is not None
        edit(next((out / "b").glob("*-s1")), '"samples_sha256":"rows"', '"samples_sha256":"others"')
        with pytest.raises(UserError, match="different data"):
            compare_command([str(out / "a"), str(out / "b")])

    def test_test_evaluations(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        make_run(out, name="c", seed=0, steps=20, splits=("test",), finals=("test",))
        text = said(capsys, out / "c", out / "a")
        assert "* A looked at the test set while it trained (max of 2 test evaluations: " in text
        assert "* - none" in text  # the mean is marked

    def test_other_images_and_precision(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for run in (out / "b").glob("*-s*"):
            edit(run, '"n_val":50', '"n_val":40')
            log = run / "log.jsonl"
            lines = log.read_text().splitlines(keepends=True)
            log.write_text("".join(x.replace('"n":50', '"n":40') if '"split":"val"' in x else x for x in lines))
            edit(run, '"environment":{}', '"environment":{},"arithmetic":{"precision":"bf16"}')
        assert "judged on different val images: 50 | 40." in said(capsys, out / "a", out / "b", split="val")
        text = said(capsys, out / "a", out / "b")
        assert "judged" not in text
        assert "* They were computed in different precision: None | bf16." in text
        split = {"name": "digits", "split": {"val": 0.15, "test": 0.2, "seed": 1}, "preprocess": []}
        make_run(out, name="c", steps=20, data=split)
        assert "* data.split differs" in said(capsys, out / "a", out / "c")

    def test_several_keys_belong_together(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        make_run(out, name="c", steps=20, lr=0.2, model__hidden=[7], device="cuda")
        text = said(capsys, out / "a", out / "c")
        assert "differ in 2 keys, and the difference belongs to all of them together" in text
        assert "model.hidden: [100] | [7]; optimizer.lr: 0.1 | 0.2." in text
        make_run(out, name="d", steps=20)
        assert "differ in nothing but the name." in said(capsys, out / "a", out / "d")

    def test_two_seeds_of_one_config_are_said_to_differ_in_the_seed(
        self, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        runs = [next((out / "a").glob(f"*-s{seed}")) for seed in (0, 1)]
        assert "differ in nothing but the seed." in said(capsys, *runs)
        other = make_run(out, name="d", seed=5, steps=20).root
        assert "differ in nothing but the name and the seed." in said(capsys, runs[0], other)

    def test_a_test_set_that_evaluate_opened_early(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = next((out / "b").glob("*-s1"))
        lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
        note = '{"kind":"note","step":10,"about":"test_opened_early","text":"opened"}\n'
        (run / "log.jsonl").write_text("".join([lines[0], note, *lines[1:]]))
        text = said(capsys, out / "a", out / "b")
        assert "* B: the test set was opened early, before a run was over (" in text
        assert "-s1, at step 10)." in text
        assert "opened early" not in said(capsys, out / "a", out / "b", split="val")


class TestSweepRows:
    @pytest.fixture
    def sweep(self, out: Path) -> Path:
        rows = []
        for rank, (lr, fresh) in enumerate([(0.4, True), (0.5, False)], 1):
            runs = [make_run(out, name="s", lr=lr, seed=seed, steps=20) for seed in (0, 1, 8, 9)]
            row = folder.sweep_point(runs, number=rank, rank=rank)
            for run in row["runs"]:
                run["confirms"] = fresh and run["seed"] > 5
            rows.append(row)
        rows.append(folder.sweep_point([], number=3, rank=None, status="waiting"))
        folder.write_sweep(out / "s", [], rows=rows)
        return out / "s"

    def test_fresh_seeds_alone_count(self, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
        got = found(capsys, f"{sweep}:1", f"{sweep}:2", split="val")
        assert [[run["seed"] for run in group["runs"]] for group in got["groups"]] == [[8, 9], [0, 1, 8, 9]]
        text = said(capsys, f"{sweep}:1", f"{sweep}:2", split="val")
        assert "A: only its runs on fresh seeds, which had no part in the ranking." in text
        assert "* B has rank 2 of 3 by this very figure, so luck had a part in it" in text
        assert "by this very figure" not in said(capsys, f"{sweep}:1", f"{sweep}:2", split="test")

    def test_the_folder_says_how_to_name_a_row(self, sweep: Path) -> None:
        with pytest.raises(UserError, match=rf"or a row of the sweep's table by its rank: {sweep}:1 is the best"):
            compare_command([str(sweep), f"{sweep}:1"])

    def test_no_such_rank_or_run_or_table(self, sweep: Path, out: Path) -> None:
        with pytest.raises(UserError, match="has no rank 7; it ranks 2 points"):
            compare_command([str(out / "a"), f"{sweep}:7"])
        shutil.rmtree(next(sweep.glob("*-s8")))
        shutil.rmtree(next(sweep.glob("*-s8")))
        with pytest.raises(UserError, match=r"-s8 is gone; the table .* still names it"):
            compare_command([str(out / "a"), f"{sweep}:1"])
        for text in ("{", "[]", '{"schema": 1, "name": "s", "rows": [{}]}'):
            (sweep / "table.json").write_text(text)
            with pytest.raises(UserError, match=r"is damaged: |no table of a sweep"):
                compare_command([str(out / "a"), f"{sweep}:1"])
        (sweep / "table.json").write_text('{"schema": 2}')
        with pytest.raises(UserError, match="has schema 2"):
            compare_command([str(out / "a"), f"{sweep}:1"])


def test_seeds_in_short() -> None:
    assert [seeds_text(s) for s in ([], [3], [2, 0, 1], [0, 2, 3, 9])] == ["", "3", "0-2", "0, 2-3, 9"]


def test_command_line(out: Path) -> None:
    done = CliRunner().invoke(main, ["compare", str(out / "a"), str(out / "b"), "--effect", "1", "--split", "val"])
    assert done.exit_code == 0
    assert done.stdout.startswith("val accuracy in percent at the end of each run\n")
    assert CliRunner().invoke(main, ["compare", str(out / "a")]).exit_code == 2
    assert CliRunner().invoke(main, ["compare", str(out / "a"), str(out / "x")]).exit_code == 1
    assert CliRunner().invoke(main, ["compare", str(out / "a"), str(out / "b"), "--effect", "0"]).exit_code == 2


@pytest.mark.parametrize("columns", [60, 90])
def test_sentences_fit_the_terminal(out: Path, columns: int) -> None:
    line = [sys.executable, "-m", "dlassign", "compare", "a", "b"]
    environment = os.environ | {"COLUMNS": str(columns)}
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=out, env=environment)
    assert max(map(len, done.stdout.splitlines())) <= max(columns, 80)  # the table and the head may be wider than 60
    assert any(math.isclose(len(text), columns, abs_tol=15) for text in done.stdout.splitlines())


def test_reads_logs_without_torch_or_matplotlib(out: Path) -> None:
    program = """
import sys
from dlassign.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print({"matplotlib", "torch", "sklearn", "scipy.stats"} & set(sys.modules))
"""
    line = [sys.executable, "-c", program, "compare", str(out / "a"), str(out / "b")]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout.endswith("set()\n")


def test_where_the_mean_lies_as_the_samples_are_few(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [a, _] = found(capsys, out / "a", out / "b")["groups"]
    low, high = wilson(a["mean"], 50)
    assert a["sampling_interval"] == pytest.approx([low, high])
    assert f"{100 * low:.2f} .. {100 * high:.2f}" in said(capsys, out / "a", out / "b")
    assert "Wilson interval" not in said(capsys, out / "a", out / "b", metric="loss")
