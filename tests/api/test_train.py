"""`dlassign.train`: the run of the command line from Python, which gives back all that it changes of the process."""

from __future__ import annotations

import gc
import random
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dlassign as dl
from dlassign.errors import ConfigError, DataError, UserError
from helpers.commands import calling
from helpers.runs import stop_after_steps, with_changes

CONFIG: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "digits", "split": {"train": 60, "val": 20, "test": 20}},
    "model": {"name": "mlp", "hidden": [4]},
    "optimizer": {"name": "adam", "lr": 0.01},
    "train": {"steps": 6, "batch_size": 20, "eval_every": {"steps": 3}, "checkpoint_seconds": 0},
    "device": "cpu",
}
TEXT = """\
name: tiny
data: {name: digits, split: {train: 60, val: 20, test: 20}}
model: {name: mlp, hidden: [4]}
optimizer: {name: adam, lr: 0.01}
train: {steps: 6, batch_size: 20, eval_every: {steps: 3}, checkpoint_seconds: 0}
device: cpu
"""


def weights(run: dl.Run) -> str | None:
    return run.summary.weights_sha256


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_importing_takes_no_package_that_takes_time() -> None:
    code = "import sys, dlassign; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "dlassign" in loaded
    assert not loaded & {"torch", "numpy", "pydantic", "matplotlib", "yaml", "click", "PIL", "sklearn"}


@pytest.mark.parametrize("first", ["dlassign", "dlassign.train.stopping", "dlassign.api.given"])
def test_a_name_means_the_function_and_the_package_whatever_is_imported_first(first: str) -> None:
    code = (
        f"import {first}, dlassign as d, dlassign.train.stopping as s; print(callable(d.train), d.train.stopping is s)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_a_run_that_is_over_is_looked_at_without_torch() -> None:
    dl.train(CONFIG)
    code = f"import sys, dlassign as dl; run = dl.train({CONFIG!r}); run.history(), run.confusion(), dl.runs()"
    told = subprocess.run(
        [sys.executable, "-c", f"{code}; print(run.status, 'torch' in sys.modules)"], capture_output=True, text=True
    )
    assert told.stdout == "finished False\n", told.stderr


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(callable(getattr(dl, name)) for name in dl.__all__)
    assert set(dl.__all__) <= set(dir(dl))
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", dl.__version__)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        dl.trian  # noqa: B018


def test_path_text_and_dict_are_one_run_and_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    Path("tiny.yaml").write_text(TEXT)
    calling("train")(config="tiny.yaml", out="cli")
    run = dl.train(CONFIG)
    assert (run.status, run.name, run.seed, run.summary.steps) == ("finished", "tiny", 0, 6)
    capsys.readouterr()
    for same in ("tiny.yaml", Path("tiny.yaml"), TEXT, run.config):
        assert dl.train(same).path == run.path
    assert capsys.readouterr().err == ""  # they were over
    assert weights(dl.open("cli/tiny/latest")) == weights(run)
    assert run.path.name == dl.open("cli").path.name


def test_values_that_are_set_replace_those_of_the_config() -> None:
    run = dl.train(
        CONFIG,
        set={"model.hidden": (3, np.int64(2)), "optimizer": {"name": "sgd", "lr": 1e-05}},
        seed=3,
        out=Path("other"),
    )
    assert dl.train(CONFIG, seed=np.int64(3), device=torch.device("cpu")).seed == 3  # type: ignore[arg-type]
    assert run.path.parent == Path("other/tiny")
    assert run.seed == 3
    assert run.config["model"]["hidden"] == [3, 2]
    assert run.config["optimizer"]["lr"] == 1e-5
    assert CONFIG["model"]["hidden"] == [4]


def test_a_dict_may_extend_a_file() -> None:
    Path("tiny.yaml").write_text(TEXT)
    run = dl.train({"extends": "tiny.yaml", "train": {"steps": 3}})
    assert run.summary.steps == 3


def test_a_wrong_dict_is_told_with_lines_and_carets() -> None:
    wrong = with_changes(CONFIG, {"optimizer.betta": 1})
    with pytest.raises(ConfigError) as caught:
        dl.train(wrong, set={"train.batch_size": -1}, seed=-2)
    message = str(caught.value)
    assert "dict:14:3: optimizer.betta: unknown key. Did you mean 'betas'?" in message
    assert "   14 |   betta: 1\n      |   ^^^^^" in message
    assert "set:1:18: train.batch_size: expected a count" in message
    assert "seed: seed: expected" in message
    assert "--" not in message
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("no.yaml", "no.yaml: no such file"),
        ("name: [a", "text:1:7: the bracket `[` is not closed"),
        ("just: a\nline", "text:2:1: `: ` is missing after this key"),
        (
            {"name": "a", "model": {"name": dict}},
            "model.name: expected plain data (numbers, texts, lists, dicts), got dict",
        ),
        ({"name": "a", "data": {"name": object()}}, "data.name: expected plain data"),
        ({"name": "a", "data": {1: 2}}, "data: the keys of a config are texts, not 1"),
        ({}, "dict"),
        (3, "a config is the path of a YAML file, its text or a dict, not int"),
        ({"base": "a.yaml", "space": {}}, "dict:2:8: dict is a sweep file"),
    ],
)
def test_what_is_no_config_is_named(config: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dl.train(config)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"set": ["optimizer.lr=3"]},
            r'^set: expected values by dotted key, such as \{"optimizer.lr": 0.01\}, got list',
        ),
        ({"parts": [dict]}, r'^parts: expected classes and functions by name, such as \{"net": Net\}, got list'),
        ({"data": (1, 2)}, r'^data: expected \{"train": \(x, y\)\}, got tuple'),
        ({"seed": 1.5}, "^seed: seed: expected a whole number"),
    ],
)
def test_arguments_of_another_form_are_named(given: dict[str, Any], told: str) -> None:
    with pytest.raises((ConfigError, UserError, ValueError), match=told):
        dl.train(CONFIG, **given)


def test_a_dict_that_holds_itself_is_refused() -> None:
    own: dict[str, Any] = {}
    own["data"] = own
    with pytest.raises(ConfigError, match="nested more than 50 levels deep; does it hold itself"):
        dl.train(own)


def test_what_shows_only_in_the_data_is_placed_too() -> None:
    with pytest.raises(ConfigError, match=r"^dict:5:1[0-9]: data.split.train: "):
        dl.train(with_changes(CONFIG, {"data.split.train": 10**6}))
    with pytest.raises(DataError):
        dl.train(with_changes(CONFIG, {"data": {"name": "mnist", "root": "nowhere"}}))


def test_an_interrupted_run_is_returned_and_goes_on_to_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dl.train(CONFIG, out="whole")
    stop = stop_after_steps(monkeypatch)
    stop.after = 4
    run = dl.train(CONFIG)
    assert (run.status, run.summary.steps) == ("interrupted", 4)
    assert run.val is not None
    assert run.test is None
    stop.after = 10**9
    gone_on = dl.train(CONFIG)
    assert gone_on.status == "finished"
    assert weights(gone_on) == weights(whole)


@pytest.mark.parametrize("begun", [False, True])
def test_ctrl_c_before_the_first_step_comes_through_unless_the_run_has_begun(
    begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if begun:
        stop = stop_after_steps(monkeypatch)
        stop.after = 2
        dl.train(CONFIG)

    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dlassign.train.experiment.assemble", press)
    if begun:
        assert dl.train(CONFIG).status == "interrupted"
        return
    with pytest.raises(KeyboardInterrupt):
        dl.train(CONFIG)


def test_a_run_that_diverges_is_returned() -> None:
    run = dl.train(CONFIG, set={"optimizer": {"name": "sgd", "lr": 1e30}, "train.steps": 20})
    assert run.status == "diverged"


def test_again_moves_the_earlier_run_aside() -> None:
    first = dl.train(CONFIG)
    second = dl.train(CONFIG, again=True)
    assert second.path == first.path
    assert first.path.with_name(f"{first.path.name}.old-1").is_dir()
    assert weights(first) == weights(second)


def test_the_process_is_as_before_and_its_number_type_changes_nothing() -> None:
    torch.manual_seed(7)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[union-attr]
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    try:
        run = dl.train(CONFIG)
        run.evaluate("val")
        run.model()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[union-attr]
    assert before == after
    assert threads == torch.get_num_threads()
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert weights(run) == weights(dl.train(CONFIG, again=True))


def test_nothing_of_the_net_or_the_data_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def alive() -> set[int]:
        gc.collect()
        return {id(one) for one in gc.get_objects() if type(one).__name__ in ("TorchLearner", "Dataset", "TensorSplit")}

    before = alive()
    stop = stop_after_steps(monkeypatch)
    stop.after = 2
    interrupted = dl.train(CONFIG)
    stop.after = 10**9
    run = dl.train(CONFIG)
    found = run.evaluate("val")
    assert alive() <= before
    assert interrupted.path == run.path
    assert found.result == run.val


def test_threads_take_turns_and_train_what_each_trains_alone() -> None:
    """A dropout that another thread had drawn from would be another training."""
    cfg = {**CONFIG, "model": {"name": "mlp", "hidden": [8], "dropout": 0.5}}
    alone = [weights(dl.train(cfg, seed=seed, out="alone")) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda seed: dl.train(cfg, seed=seed), range(3)))
    assert [weights(run) for run in together] == alone


def test_messages_name_arguments_and_leave_command_lines_alone() -> None:
    with pytest.raises(ConfigError, match="train it with `dlassign sweep --config dict`"):
        dl.train({"base": "a.yaml", "space": {}})
    run = dl.train(CONFIG)
    with pytest.raises(ConfigError, match=r"and set changes optimizer.lr; .*: dlassign train --config \S+ --set"):
        run.evaluate(set={"optimizer.lr": 1.0})
