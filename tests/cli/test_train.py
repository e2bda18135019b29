"""`dlassign train` from the outside: results, exit codes, and what happens when something is wrong."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from filelock import FileLock

from dlassign.cli.main import main
from dlassign.store.paths import RunPaths, find_runs
from dlassign.store.records import read_records
from dlassign.train import checkpoint, experiment

CONFIG = """\
name: small
data: {name: digits, preprocess: [{name: scale, divisor: 16}]}
model: {name: mlp, hidden: [16]}
optimizer: {name: sgd, lr: 0.1}
train:
  steps: 40
  batch_size: 100
  log_every: {steps: 5}
  eval_every: {steps: 10}
  checkpoint_seconds: 0
"""
Train = Callable[..., Result]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(CONFIG)

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["train", "--config", "a.yaml", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def only_run() -> RunPaths:
    [paths] = find_runs(Path("out"))
    return paths


class Killed(BaseException):
    """Stands for a kill at a certain place."""


def interrupt(train: Train, monkeypatch: pytest.MonkeyPatch, *, saves: int = 2) -> None:
    """Stop a run as a kill would, right after its checkpoint number `saves` was written."""
    save, done = checkpoint.CheckpointStore.save, []

    def counted(self: Any, state: Any, *, step: int) -> None:
        save(self, state, step=step)
        done.append(step)
        if len(done) == saves:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.CheckpointStore, "save", counted)
        with pytest.raises(Killed):
            CliRunner().invoke(main, ["train", "--config", "a.yaml"], catch_exceptions=False)


def test_json_result(train: Train) -> None:
    result = train("--json")
    assert result.exit_code == 0
    [line] = result.stdout.splitlines()
    values = json.loads(line)
    assert values["status"] == "finished"
    assert values["steps"] == 40
    assert values["n_params"] == 64 * 16 + 16 + 16 * 10 + 10
    assert set(values["val"]) == set(values["test"]) == {"n", "loss", "accuracy"}
    assert values["test"]["accuracy"] > 0.3
    assert len(values["weights_sha256"]) == 64
    assert values["run"] == str(only_run().root)
    assert values["images_per_second"] > 0


def test_same_command_again_returns_the_same_at_once_and_again_trains_anew(train: Train) -> None:
    first, log = train("--json"), only_run().log.read_bytes()
    second = train("--json")
    assert second.exit_code == 0
    assert second.stdout == first.stdout
    assert "already finished" in second.stderr
    assert only_run().log.read_bytes() == log
    third = train("--json", "--again")
    assert json.loads(third.stdout)["weights_sha256"] == json.loads(first.stdout)["weights_sha256"]
    [old] = only_run().root.parent.glob("*.old-1")
    assert (old / "log.jsonl").read_bytes() == log


@pytest.mark.draws
def test_plots_and_files_of_a_run(train: Train) -> None:
    result = train()
    paths = only_run()
    for path in (paths.config, paths.manifest, paths.log, paths.best):
        assert path.is_file()
    assert json.loads(paths.manifest.read_text())["status"] == "finished"
    for name in ("loss.png", "accuracy.png"):
        assert (paths.plots / name).read_bytes().startswith(b"\x89PNG")
        assert str(paths.plots / name) in result.stdout
    assert paths.latest.resolve() == paths.root.resolve()


def test_finished_run_and_help_import_no_torch(train: Train) -> None:
    train()
    code = (
        "import sys\nfrom dlassign.cli.main import main\n"
        "try:\n    main({})\nexcept SystemExit as end:\n    code = end.code\n"
        "print(code, *sorted({{'torch', 'matplotlib', 'numpy', 'pydantic', 'rich'}} & set(sys.modules)))"
    )

    def modules(*arguments: str) -> tuple[set[str], str]:
        line = [sys.executable, "-c", code.format(list(arguments))]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        exit_code, *found = done.stdout.splitlines()[-1].split()
        assert exit_code == "0"
        return set(found), done.stderr

    assert modules("--help") == (set(), "")
    assert modules("train", "--help") == (set(), "")
    found, said = modules("train", "--config", "a.yaml")
    assert "already finished" in said
    assert not {"torch", "matplotlib"} & found


def test_divergence_exits_3_names_the_step_and_draws(train: Train) -> None:
    result = train("--set", "optimizer.lr=1e20", "--json")
    assert result.exit_code == 3
    assert "the loss became" in result.stderr
    assert "at step 2 " in result.stderr or "at step 3 " in result.stderr
    assert "smaller optimizer.lr" in result.stderr
    paths = only_run()
    assert read_records(paths.log).end is not None
    assert (paths.plots / "loss.png").exists()
    again = train("--set", "optimizer.lr=1e20", "--json")
    assert again.exit_code == 3
    assert json.loads(again.stdout)["status"] == "diverged"


def test_config_error_exits_2(train: Train) -> None:
    Path("a.yaml").write_text(CONFIG.replace("steps: 40", "stepz: 40"))
    result = train()
    assert result.exit_code == 2
    assert "a.yaml:6:3: train.stepz: unknown key. Did you mean 'steps'?" in result.stderr
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["train.batch_size=5000"], ["--set:1:18: train.batch_size", "5000", "1168"]),
        (["model.in_features=65"], ["--set:1:19: model.in_features", "1x8x8 = 64", "set 64 or null"]),
        (["loss={name: hinge}"], ["loss.name", "2 classes", "10", "cross_entropy"]),
        (["model.hidden=[2000000000]"], ["model.hidden", "GiB", "smaller"]),
        (["data.split.val=5000"], ["--set:1:16: data.split.val", "5000"]),
        (["model.norm=batch", "train.batch_size=389"], ["train.batch_size", "batch of 1", "drop_last"]),
        (["schedule={name: cosine, warmup: {steps: 50}}"], ["schedule.warmup", "50", "40"]),
        (["device=cuda:63"], ["device", "CUDA", "cpu"]),
        (["model.hidden=[99999999999999999999]"], ["--set:1:15: model.hidden.0", "use less than 2^31"]),
        (
            ["train.order=with_replacement", "train.batch_size=1000000000000"],
            ["train.batch_size", "use less than 2^31"],
        ),
        (["train.clip={value: 1e308}"], ["train.clip.value", "1e308"]),
        (["schedule={name: cosine, warmup: {epochs: 1e308}}"], ["schedule.warmup", "leaves nothing"]),
    ],
)
def test_what_does_not_fit_is_shown_where_it_stands(train: Train, sets: list[str], words: list[str]) -> None:
    result = train(*[part for item in sets for part in ("--set", item)])
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_missing_data_says_how_to_get_it(train: Train) -> None:
    result = train("--set", "data.name=mnist", "--set", "data.root=nowhere")
    assert result.exit_code == 1
    assert "nowhere" in result.stderr
    assert "dlassign data fetch mnist" in result.stderr


def test_ctrl_c_while_pictures_are_drawn_says_that_the_run_is_over(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said `interrupted`, as of a run that goes on."""

    def stopped(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dlassign.cli.commands.train._draw", stopped)
        result = train()
    assert (result.exit_code, result.stdout) == (130, "")
    told = "interrupted while pictures were drawn: the run is finished, and the same command prints its result"
    assert result.stderr.splitlines()[-1] == f"{told} and draws them"
    again = train()
    assert again.exit_code == 0
    assert "already finished" in again.stderr
    assert (only_run().plots / "loss.png").exists()


def test_damaged_checkpoint_falls_back(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = json.loads(train("--json", "--out", "other").stdout)
    interrupt(train, monkeypatch)
    last = only_run().last
    last.write_bytes(last.read_bytes()[:-100])
    result = train("--json")
    assert result.exit_code == 0
    assert f"{last} is damaged" in result.stderr
    assert "going on from step 10 of 40" in result.stderr
    assert json.loads(result.stdout)["weights_sha256"] == expected["weights_sha256"]


def test_killed_before_the_first_checkpoint_starts_over(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = json.loads(train("--json", "--out", "other").stdout)
    interrupt(train, monkeypatch, saves=1)
    only_run().last.unlink()
    result = train("--json")
    assert json.loads(result.stdout)["weights_sha256"] == expected["weights_sha256"]
    assert [record["step"] for record in read_records(only_run().log).train] == list(range(5, 41, 5))


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("owned"),)


def test_a_checkpoint_that_carries_code_is_not_run(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(train, monkeypatch)
    only_run().last.write_bytes(checkpoint.sealed({"schema": 1, "step": 10, "x": Malice()}))
    only_run().previous.unlink()
    result = train()
    assert result.exit_code == 1
    assert "could run code" in result.stderr
    assert "--again" in result.stderr
    assert not Path("owned").exists()


def test_full_disk_keeps_the_last_good_checkpoint(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, saves = os.fsync, set()

    def full(handle: int) -> None:
        for path in Path("out").rglob(".tmp-*-last.pt"):
            if os.path.samestat(os.fstat(handle), path.stat()):
                saves.add(path)
                if len(saves) == 3:
                    raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    result = train()
    monkeypatch.setattr(os, "fsync", fsync)
    assert result.exit_code == 1
    paths = only_run()
    assert "the checkpoint of step 30 was not saved" in result.stderr
    assert "no space left on the disk" in result.stderr
    assert str(paths.last) in result.stderr
    assert checkpoint.load_checkpoint(paths.last)["step"] == 20
    assert not list(paths.checkpoints.glob(".tmp-*"))
    result = train("--json")
    assert json.loads(result.stdout)["status"] == "finished"


def test_two_processes_on_one_folder(train: Train) -> None:
    train()
    paths = only_run()
    log = paths.log.read_text()
    paths.log.write_text("".join(log.splitlines(keepends=True)[:-1]))
    with FileLock(paths.lock):
        result = train()
    assert result.exit_code == 1
    assert "another process is training" in result.stderr
    assert str(paths.root) in result.stderr


def test_folder_of_another_schema_version(train: Train) -> None:
    train()
    paths = only_run()
    paths.log.write_text(paths.log.read_text().replace('"schema":1', '"schema":99'))
    result = train()
    assert result.exit_code == 1
    assert "schema 99" in result.stderr
    assert str(paths.log) in result.stderr


def test_out_that_cannot_be_a_folder(train: Train) -> None:
    Path("file").touch()
    result = train("--out", "file/out")
    assert result.exit_code == 1
    assert "cannot create the folder" in result.stderr
    assert "--out" in result.stderr


def test_traceback_is_shown_on_demand(train: Train) -> None:
    result = CliRunner().invoke(main, ["--traceback", "train", "--config", "missing.yaml"])
    assert type(result.exception).__name__ == "ConfigError"


def test_an_endless_training_can_be_stated(train: Train) -> None:
    result = CliRunner().invoke(main, ["check", "a.yaml", "--set", "train.steps=null", "--set", "train.epochs=1e308"])
    assert result.exit_code == 0
    assert "1,000,000,000,000,000 steps" in result.stdout


@pytest.mark.parametrize("line", ['{"kind":"resume"}', '{"kind":"train","step":null}', "[" * 100_000, "\0\0", "[1]"])
def test_garbage_in_a_log_is_reported_and_skipped(line: str, train: Train) -> None:
    first = json.loads(train("--json").stdout)
    log = only_run().log
    log.write_text(line + "\n" + log.read_text().replace('{"kind":"end"', line + '\n{"kind":"end"'))
    assert json.loads(train("--json").stdout) == first
    result = CliRunner().invoke(main, ["plot", "out"])
    assert result.exit_code == 0
    assert f"{log}:1: not a complete record, skipped" in result.stderr


def test_a_log_of_garbage_alone_beside_checkpoints_is_not_trained_over(train: Train) -> None:
    first = json.loads(train("--json").stdout)
    run = only_run()
    run.log.write_text('{"kind":"train"}\n{}\n')
    refused = train("--json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"put the log back, or move {run.root} away to train it anew" in refused.stderr
    run.root.rename("aside")
    assert json.loads(train("--json").stdout)["weights_sha256"] == first["weights_sha256"]


def test_out_of_memory_is_said_in_plain_words(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setattr(experiment, "assemble", full)
    result = train()
    assert result.exit_code == 1
    assert "out of memory; use a smaller train.batch_size" in result.stderr


def test_what_the_system_refuses_is_one_line(train: Train) -> None:
    Path("loop").symlink_to("loop")
    result = train("--out", "loop")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) <= 2
    assert "loop" in result.stderr


def test_again_leaves_the_old_run_alone_if_a_new_one_cannot_begin(train: Train) -> None:
    train()
    log = only_run().log.read_bytes()
    result = train("--again", "--device", "cuda:63")
    assert result.exit_code == 2
    assert only_run().log.read_bytes() == log
    assert not list(Path("out").rglob("*.old-*"))


def test_missing_data_leaves_no_run_folder(train: Train) -> None:
    assert train("--set", "data.name=mnist", "--set", "data.root=nowhere").exit_code == 1
    assert not list(Path("out/small").glob("[!.]*"))


def test_early_stop_is_said(train: Train) -> None:
    stop = ["--set", "train.early_stop={patience: 1, min_delta: 0.9}", "--set", "data.split.val=0.1"]
    result = train(*stop)
    assert "finished: 20 steps of 40, stopped early," in result.stdout
    assert json.loads(train(*stop, "--json").stdout)["test"] is not None  # the other keys of split keep their defaults


def test_a_section_with_a_default_name_needs_none(train: Train) -> None:
    assert train("--set", "loss.label_smoothing=0.1", "--set", "schedule.warmup={steps: 4}").exit_code == 0
    config = only_run().config.read_text()
    assert "name: cross_entropy" in config
    assert "label_smoothing: 0.1" in config


def test_learning_rate_is_taken_for_lr(train: Train) -> None:
    assert "Did you mean 'lr'?" in train("--set", "optimizer.learning_rate=0.1").stderr


def test_a_small_network_uses_one_thread_and_the_log_says_so(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.delenv("OMP_NUM_THREADS")
        train("--json")
        assert read_records(only_run().log).start["environment"]["threads"] == 1
        assert torch.get_num_threads() == 2
        one_step = ("--set", "train.order=full", "--set", "train.steps=1")
        train("--json", "--out", "big", "--set", "model.hidden=[3000]", *one_step)
        [big] = find_runs(Path("big"))
        assert read_records(big.log).start["environment"]["threads"] == 2
        train("--json", "--out", "numpy", "--set", "backend=numpy")
        [small] = find_runs(Path("numpy"))
        assert read_records(small.log).start["environment"]["threads"] == 1
    finally:
        torch.set_num_threads(before)


def test_evaluating_a_folder_of_runs_names_them(train: Train) -> None:
    train()
    assert CliRunner().invoke(main, ["evaluate", "out/small"]).exit_code == 0  # one run is the one that is meant
    train("--seed", "1")
    result = CliRunner().invoke(main, ["evaluate", "out/small"])
    assert result.exit_code == 1
    for paths in find_runs(Path("out")):
        assert str(paths.root) in result.stderr


def test_a_checkpoint_of_another_run_is_refused(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    train("--set", "optimizer.lr=0.2", "--set", "train.keep_checkpoints=all")
    other = only_run().last.read_bytes()
    interrupt(train, monkeypatch)
    [paths] = [paths for paths in find_runs(Path("out")) if read_records(paths.log).end is None]
    paths.last.write_bytes(other)
    result = train()
    assert result.exit_code == 1
    assert "is that of another run" in result.stderr
    assert "--again" in result.stderr


def test_an_edited_config_is_told(train: Train) -> None:
    train()
    config = only_run().config
    config.write_text(config.read_text().replace("hidden: [16]", "hidden: [17]"))
    result = CliRunner().invoke(main, ["evaluate", str(only_run().root)])
    assert result.exit_code == 1
    assert "has been edited since the run was trained: model.hidden.0 is 17, the log says 16" in result.stderr


def test_weights_that_do_not_fit_the_config(train: Train) -> None:
    train()
    best = only_run().best
    state = checkpoint.load_checkpoint(best)
    state["weights"] = {name: weight[..., :1] for name, weight in state["weights"].items()}
    best.write_bytes(checkpoint.sealed(state))
    result = CliRunner().invoke(main, ["evaluate", str(only_run().root)])
    assert result.exit_code == 1
    assert "the weights do not fit the model of config.yaml" in result.stderr


def test_an_endless_rise_of_the_rate_diverges(train: Train) -> None:
    result = train("--set", "schedule={name: step, every: {steps: 1}, gamma: 1e30}")
    assert result.exit_code == 3
    assert "the loss became" in result.stderr


@pytest.mark.slow
def test_a_terminal_without_unicode_gets_escapes_and_no_command_imports_the_compiler(train: Train) -> None:
    """In one child process, since each takes seconds to import torch; the compiler would take as long again."""
    Path("d.csv").write_text(encoding="utf-8", data="x,label\n" + "1,ä\n2,\u4e2d\n" * 20)
    sets = [
        *(
            "--set",
            "data={name: csv_table, path: d.csv}",
            "--set",
            "train={batch_size: 4, steps: 10, clip: {norm: 1.0}}",
        ),
        *("--set", "model={name: mlp, hidden: [4], norm: batch, dropout: 0.1}", "--set", "optimizer={name: adam}"),
        *("--set", "loss.penalty=[{name: l2, coefficient: 0.1}]"),
    ]
    summary = ["check", "a.yaml", "--summary", "--set", "model={name: eecs_convnet, filters: 2, kernel_size: 3}"]
    code = (
        "import sys\nfrom pathlib import Path\nfrom dlassign.cli.main import main\n"
        f"for line in (['train', '--config', 'a.yaml', *{sets}], ['evaluate', 'out/small'], {summary}):\n"
        "    try:\n        main(line)\n    except SystemExit as end:\n        assert not end.code\n"
        "assert 'torch' in sys.modules\nassert not {'torch._dynamo', 'torch._inductor'} & set(sys.modules)"
    )
    env = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True)
    assert "ä ".encode("latin-1") in done.stdout
    assert b"\\u4e2d" in done.stdout
