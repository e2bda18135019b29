"""Code: files of a user's own are read once, and run as the bytes that were read."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import jsonschema
import pytest
import torch
import yaml
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.config.load import load_config
from dlassign.config.own_part import own_parts
from dlassign.errors import ConfigError, UserError
from dlassign.parts.code import Code

NET = """\
import torch
from blocks import head
import layers.last as last
import layers.first
from layers import first as again


def Net(in_shape, n_classes, *, width: int = 4, sizes: tuple[int, ...] = (1, 2), scale: float | None = None):
    assert again is layers.first
    return torch.nn.Sequential(layers.first.flat(), head(64, width), last.linear(width, n_classes))
"""
BLOCKS = "import torch\n\n\ndef head(n, width):\n    return torch.nn.Linear(n, width)\n"
FIRST = "import torch\nfrom . import last\n\n\ndef flat():\n    return torch.nn.Flatten()\n"
LAST = "import torch\nimport blocks\n\n\ndef linear(n, m):\n    return blocks.head(n, m)\n"
CONFIG = """\
data: {name: digits}
model: {name: "net.py:Net", width: 8}
optimizer: {name: adam}
train: {steps: 2}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a config and a net of several files."""
    monkeypatch.chdir(tmp_path)
    Path("layers").mkdir()
    files = {"net.py": NET, "blocks.py": BLOCKS, "layers/first.py": FIRST, "layers/last.py": LAST, "a.yaml": CONFIG}
    for name, text in {**files, "layers/__init__.py": "", "unused.py": "1 / 0\n"}.items():
        Path(name).write_text(text)
    return tmp_path


def test_files_import_what_lies_beside_them() -> None:
    code = Code([Path("net.py")])
    net = code.load("net.py:Net")((1, 8, 8), 10)
    assert [tuple(p.shape) for p in net.parameters()] == [(4, 64), (4,), (10, 4), (10,)]
    assert sorted(code.sources("net.py:Net")) == [
        *("blocks.py", "layers/__init__.py", "layers/first.py", "layers/last.py", "net.py")
    ]


@pytest.mark.parametrize("name", ["net.py", "blocks.py", "layers/last.py", "layers/__init__.py"])
def test_every_byte_counts_and_what_was_read_stays(name: str) -> None:
    before = Code([Path("net.py")])
    Path(name).write_text(f"{Path(name).read_text()}# changed\n")
    after = Code([Path("net.py")])
    assert before.digest("net.py:Net") != after.digest("net.py:Net")
    assert before.load("net.py:Net") is not after.load("net.py:Net")
    assert before.sources("net.py:Net")[name] != after.sources("net.py:Net")[name]


def test_files_may_import_each_other() -> None:
    Path("net.py").write_text(f"import blocks\n{NET}\n\ndef back():\n    return blocks.back()\n")
    Path("blocks.py").write_text(f"import net\n{BLOCKS}\n\ndef back():\n    return net.Net\n")
    code = Code([Path("net.py")])
    assert code.load("net.py:back")() is code.load("net.py:Net")


def test_a_folder_needs_no_init_but_hides_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"plain/inner/last.py": "ONE = 1\n", "torch/nn.py": "1 / 0\n"}.items():
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text(text)
    Path("net.py").write_text(
        "import torch.nn\nimport plain.inner.last\nfrom plain.inner import last\nfrom .plain.inner.last import ONE\n\n"
        "def Net(in_shape, n_classes):\n    return torch.nn.Linear, plain.inner.last.ONE, last.ONE, ONE\n"
    )
    assert Code([Path("net.py")]).load("net.py:Net")(None, None) == (torch.nn.Linear, 1, 1, 1)
    monkeypatch.syspath_prepend(".")  # where Python finds the folder, too
    Path("net.py").write_text(f"{Path('net.py').read_text()}# another code\n")
    assert Code([Path("net.py")]).load("net.py:Net")(None, None)[1:] == (1, 1, 1)
    assert "plain" not in sys.modules


def test_the_line_is_known_in_a_copy_of_code_that_ran_before() -> None:
    text = "def Net(in_shape, n_classes):\n    return 1 / n_classes\n"
    Path("copy").mkdir()
    for name in ("net.py", "copy/net.py"):
        Path(name).write_text(text)
        code = Code([Path(name)])
        with pytest.raises(ZeroDivisionError) as caught:
            code.load("net.py:Net")(None, 0)
        assert code.raised("net.py:Net", caught.value)
        said = code.fault("net.py:Net", caught.value)
        assert said.endswith("net.py:2: ZeroDivisionError: division by zero, in `return 1 / n_classes`")


def test_what_is_not_imported_does_not_count() -> None:
    before = Code([Path("net.py")]).digest("net.py:Net")
    Path("unused.py").write_text("changed")
    assert Code([Path("net.py")]).digest("net.py:Net") == before


def test_two_codes_do_not_see_each_other() -> None:
    first = Code([Path("net.py")]).load("net.py:Net")
    Path("blocks.py").write_text(BLOCKS.replace("Linear(n, width)", "Linear(n, width, bias=False)"))
    second = Code([Path("net.py")]).load("net.py:Net")
    assert [len(list(net((1, 8, 8), 10).parameters())) for net in (first, second, first)] == [4, 2, 4]


def test_a_config_with_own_parts_goes_to_another_process() -> None:
    cfg = load_config("a.yaml", code=Code([Path("net.py")]))
    Path("net.py").unlink()
    back = pickle.loads(pickle.dumps(cfg))
    # Its class is made again there, so it is compared by its values.
    assert back.model_dump() == cfg.model_dump()
    [part] = own_parts(back)
    assert part.keys() == {"width": 8, "sizes": (1, 2), "scale": None}
    assert len(list(part.load()((1, 8, 8), 10, **part.keys()).parameters())) == 4


def test_a_class_of_a_file_can_be_pickled() -> None:
    Path("net.py").write_text("class Net:\n    def __init__(self, in_shape, n_classes):\n        self.width = 3\n")
    net = Code([Path("net.py")]).load("net.py:Net")(None, None)
    assert pickle.loads(pickle.dumps(net)).width == 3


def test_the_digest_stands_in_the_config_and_is_checked() -> None:
    code = Code([Path("net.py")])
    cfg = load_config("a.yaml", code=code)
    assert cfg.model_dump(mode="json")["model"] == {
        "name": "net.py:Net",
        "code": code.digest("net.py:Net"),
        "width": 8,
        "sizes": [1, 2],
        "scale": None,
    }
    with pytest.raises(ConfigError, match=r"other code \(1234, now "):
        load_config("a.yaml", ["model.code='1234'"], code=code)


def test_a_name_may_have_a_folder() -> None:
    Path("configs").mkdir()
    Path("configs/a.yaml").write_text(CONFIG.replace("net.py", "../net.py"))
    cfg = load_config("configs/a.yaml", code=Code([Path("net.py")]))
    assert cfg.model.name == "net.py:Net"


def test_two_files_of_one_name() -> None:
    Path("other").mkdir()
    Path("other/net.py").write_text(NET)
    with pytest.raises(UserError, match=r"^--code net\.py and --code other/net\.py have the same name.*rename one$"):
        Code([Path("net.py"), Path("other/net.py")])
    Path("other/loss.py").write_text("import blocks\n")
    Path("other/blocks.py").write_text("")
    with pytest.raises(
        UserError, match=r"^blocks\.py and other/blocks\.py have the same name, and not the same content; rename one$"
    ):
        Code([Path("net.py"), Path("other/loss.py")])


def test_another_file_of_that_name_than_the_config_means() -> None:
    Path("other").mkdir()
    Path("other/net.py").write_text(NET)
    with pytest.raises(
        ConfigError, match=r"has the name of other/net\.py, which is allowed, and is another file; give --code net\.py"
    ):
        load_config("a.yaml", code=Code([Path("other/net.py")]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py", r"^nowhere\.py cannot be read \(No such file"),
        ("layers", r"^--code layers: expected a Python file"),
        ("pipe.py", r"^pipe\.py cannot be read"),
        ("net.v2.py", r"without another dot in its name$"),
    ],
)
def test_what_is_no_file_of_python(name: str, message: str) -> None:
    os.mkfifo("pipe.py")
    with pytest.raises(UserError, match=message):
        Code([Path(name)])


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ('model: {name: "net.py:Net", width: 8, sizes: [1, 2]}', True),
        ('model: {name: "net.py:Net", width: wide}', False),
        ('model: {name: "net.py:Net", depth: 8}', False),
        ('{model: {name: mlp}, train: {steps: 2, metric: {name: "net.py:Net", width: 8}}}', True),
        ('{model: {name: mlp}, loss: {name: "net.py:Net", width: 8, penalty: []}}', True),
        ("model: {name: mlp, hidden: [8]}", True),
        ('model: {name: "net.py:head"}', False),
    ],
)
def test_the_schema_of_editors_knows_the_keys(line: str, fits: bool) -> None:
    done = CliRunner().invoke(main, ["schema", "--code", "net.py"])
    assert done.exit_code == 0, done.output
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    config = yaml.safe_load(CONFIG) | yaml.safe_load(line)
    assert jsonschema.Draft202012Validator(schema).is_valid(config) == fits


@pytest.mark.parametrize("text", ["x = " + "-" * 200_000 + "1", "x = " + "1+" * 100_000 + "1"])
def test_a_file_that_python_cannot_parse_is_told(text: str) -> None:
    Path("deep.py").write_text(text)
    with pytest.raises(UserError, match=r"^deep\.py"):
        Code([Path("deep.py")]).load("deep.py:x")
