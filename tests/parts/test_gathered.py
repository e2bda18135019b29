"""Classes and functions of a notebook become files that run by themselves, or it is said why they cannot."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import dlassign as dl
from dlassign.errors import ConfigError, UserError
from dlassign.parts.gathered import difference, gather
from helpers.notebook import run_cell

Notebook = dict[str, Any]
IMPORTS = """\
import math
import numpy as np
import torch.nn
from torch import nn
from torch.nn import functional as F
from typing import Annotated
from annotated_types import Gt
SLOPE, NAMES, DATA = 0.1, ("a", "b"), np.zeros(3)
"""
NET = """\
def leaky(x):
    return F.leaky_relu(x, SLOPE)

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        DATA = x
        return x + leaky(self.linear(DATA)) / math.sqrt(len(NAMES))

@torch.no_grad
def unused(): ...

class Net(nn.Module):
    \"\"\"A net of a cell.

    Args:
        width: of the layers.
    \"\"\"

    def __init__(self, in_shape, n_classes, *, width: Annotated[int, Gt(0)] = 8):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), Block(width), nn.Linear(width, n_classes))

    def forward(self, x):
        return self.layers(x)
"""
CONFIG: dict[str, Any] = {
    "name": "net",
    "data": {"name": "digits", "split": {"train": 60, "val": 20, "test": 20}},
    "model": {"name": "net", "width": 6},
    "optimizer": {"name": "adam", "lr": 0.01},
    "train": {"steps": 4, "batch_size": 20},
    "device": "cpu",
}


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    monkeypatch.chdir(tmp_path)
    names: Notebook = {}
    run_cell(names, IMPORTS)
    run_cell(names, NET)
    return names


def gathered(part: Any, folder: Path, name: str = "net") -> str:
    (folder / "new").mkdir()
    [(file, _)] = gather({name: part}, folder / "new").values()
    return file.read_text()


def test_a_class_of_a_cell_takes_along_what_it_uses_and_nothing_else(notebook: Notebook, tmp_path: Path) -> None:
    text = gathered(notebook["Net"], tmp_path)
    assert text.split("\n\n\n")[0].splitlines() == [
        "from annotated_types import Gt",
        "from typing import Annotated",
        "import math",
        "import torch.nn as nn",
        "import torch.nn.functional as F",
        "NAMES = ('a', 'b')",
        "SLOPE = 0.1",
    ]
    assert re.findall(r"^(?:class|def) (\w+)", text, re.MULTILINE) == ["leaky", "Block", "Net"]
    again: Notebook = {}
    exec(text, again)
    assert again["Net"]((1, 8, 8), 10)
    assert gathered(notebook["unused"], tmp_path / "new").startswith("import torch")


def test_it_trains_is_found_again_and_opened(notebook: Notebook) -> None:
    run = dl.train(CONFIG, parts={"net": notebook["Net"]})
    assert (run.status, run.name) == ("finished", "net")
    assert run.config["model"]["name"] == "net.py:Net"
    assert run.summary.params == 64 * 6 + 6 + 6 * 6 + 6 + 6 * 10 + 10
    assert "class Block" in (run.path / "code" / "net.py").read_text()
    assert run.evaluate("val").result == run.val
    set_name = dl.train(
        {**CONFIG, "model": {"name": "mlp"}}, set={"model": CONFIG["model"]}, parts={"net": notebook["Net"]}
    )
    assert set_name.path == run.path
    run_cell(notebook, NET.replace("return F.leaky_relu(x, SLOPE)", "return F.relu(x)"))
    assert dl.train(CONFIG, parts={"net": notebook["Net"]}).path != run.path
    with pytest.raises(UserError, match="code"):
        dl.open(run.path).evaluate("val")


def test_a_part_of_an_imported_file_is_that_file(
    notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_nets.py").write_text(f"from own_blocks import WIDTH\n{IMPORTS}\n{NET}")
    (tmp_path / "own_blocks.py").write_text("WIDTH = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    import own_nets  # type: ignore[import-not-found]

    try:
        assert gather({"net": own_nets.Net}, tmp_path / "x") == {"net": (tmp_path / "own_nets.py", "own_nets.py:Net")}
        run = dl.train(CONFIG, parts={"net": own_nets.Net})
        assert sorted(path.name for path in (run.path / "code").iterdir()) == ["own_blocks.py", "own_nets.py"]
        # A cell that imports files of the user's own takes them along.
        run_cell(notebook, "from own_nets import Block")
        run_cell(notebook, "class Other(Block):\n    def __init__(self, in_shape, n_classes): super().__init__(3)\n")
        gathered(notebook["Other"], tmp_path)
        assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["net.py", "own_blocks.py", "own_nets.py"]
    finally:
        for name in ("own_nets", "own_blocks"):
            sys.modules.pop(name, None)


@pytest.mark.slow  # a process that imports torch
def test_a_script_gives_its_class_and_is_not_run_again(tmp_path: Path) -> None:
    call = (
        f"run = dl.train({CONFIG!r}, parts={{'net': Net}})\nprint(run.status, run.evaluate('val').result == run.val)\n"
    )
    (tmp_path / "mine.py").write_text(f"import dlassign as dl\n{IMPORTS}\n{NET}\nprint('begun')\n{call}")
    done = subprocess.run([sys.executable, "mine.py"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines() == ["begun", "finished True"]


def test_annotations_that_are_text_stay_text(notebook: Notebook, tmp_path: Path) -> None:
    run_cell(notebook, "from __future__ import annotations\ndef late(x: Later) -> Later: return x\n")
    assert gathered(notebook["late"], tmp_path) == (
        "from __future__ import annotations\n\n\ndef late(x: Later) -> Later: return x\n"
    )


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("def part(x): return x + DATA", "part uses DATA, an array of 3"),
        ("def outer():\n    def part(x): return x\n    return part\npart = outer()", "defined inside another function"),
        ("part = lambda x: x", "defined inside another function or class"),
        ("part = 3", "expected a class or a function, got int"),
        ("part = type('Made', (), {})", "the source of Made is not known"),
    ],
)
def test_what_cannot_be_taken_along_is_named(cell: str, told: str, notebook: Notebook, tmp_path: Path) -> None:
    run_cell(notebook, cell)
    with pytest.raises(UserError, match=r"^parts\['net'\]: ") as caught:
        gathered(notebook["part"], tmp_path)
    assert told.replace("an array of 3", "a ndarray, which cannot be copied into the run") in str(caught.value)


def test_what_was_typed_at_a_prompt_has_no_source(notebook: Notebook, tmp_path: Path) -> None:
    exec(compile("def typed(x): return x", "<stdin>", "exec"), notebook)
    with pytest.raises(
        UserError, match=r"the source of typed is not known: it was typed at a prompt, or it has no method"
    ):
        gathered(notebook["typed"], tmp_path)
    with pytest.raises(UserError, match="'my net' is no name in Python"):
        gather({"my net": notebook["Net"]}, tmp_path)


def test_what_it_raises_is_told_with_its_line(notebook: Notebook) -> None:
    run_cell(notebook, "def bad(in_shape, n_classes):\n    return nn.Linear(in_shape, 'x')\n")
    with pytest.raises(ConfigError, match=r"model.name: bad.py:5: .*, in `return nn.Linear") as caught:
        dl.train({**CONFIG, "model": {"name": "bad"}}, parts={"bad": notebook["bad"]})
    assert "/bad.py" not in str(caught.value)


def test_one_name_with_two_meanings_is_refused(notebook: Notebook, tmp_path: Path) -> None:
    module = ModuleType("__main__")
    module.__dict__.update(SLOPE=3)
    run_cell(vars(module), "def other(): return SLOPE\n")
    notebook["other"] = module.__dict__["other"]
    run_cell(notebook, "def both(): return other() + SLOPE\n")
    with pytest.raises(UserError, match="SLOPE means two things in the code that both uses; rename one"):
        gathered(notebook["both"], tmp_path)


def test_what_was_changed_after_its_definition_is_told() -> None:
    namespace: dict[str, Any] = {"__name__": "cells"}
    text = "class Net:\n    act = 1\n\n    def forward(self, x, width=WIDTH):\n        return x\n"
    exec(text.replace("WIDTH", "3"), namespace)
    given, same = namespace["Net"], dict(namespace)
    exec(text.replace("WIDTH", "3"), same)
    assert difference(given, same["Net"]) == ""
    exec(text.replace("WIDTH", "4"), same)
    assert difference(given, same["Net"]) == "Net.forward"
    exec(text.replace("WIDTH", "3").replace("act = 1", "act = 2"), same)
    assert difference(given, same["Net"]) == "Net.act"
    exec(text.replace("WIDTH", "3").replace("return x", "return 2 * x"), same)
    assert difference(given, same["Net"]) == "Net.forward"
