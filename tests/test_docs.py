"""What the documents say is what the program does."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.config.load import load_config
from dlassign.config.load_table import load_table
from dlassign.config.reference import reference_text
from dlassign.doctor.reference import reference_text as rules_text

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "out" / "README.md"])


def commands(group: click.Group = main, prefix: str = "dlassign") -> list[tuple[str, click.Command]]:
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        here = f"{prefix} {name}"
        found += commands(command, here) if isinstance(command, click.Group) else [(here, command)]
    return found


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_has_help_with_an_example_and_stands_in_the_readme(name: str, command: click.Command) -> None:
    assert command.help
    assert f"Example: {name}" in command.help
    assert all(param.help for param in command.params if isinstance(param, click.Option)), "an option without help"
    assert f"`{name}" in README


def test_the_config_reference_is_current() -> None:
    assert (ROOT / "docs" / "reference" / "config.md").read_text() == reference_text()


def test_the_reference_of_the_doctors_rules_is_current() -> None:
    assert (ROOT / "docs" / "reference" / "doctor.md").read_text() == rules_text()


def test_the_readme_config_loads(tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "a.yaml").write_text(text)
    assert load_config(tmp_path / "a.yaml").name == "my_mlp"


def masked(text: str) -> list[str]:
    """Lines with numbers and hashes masked, in an order that does not matter."""
    text = re.sub(r"[0-9a-f]{8}-s\d+", "HASH", text)
    return [re.sub(r"\d[\d,.]*", "N", line) for line in text.strip().splitlines()]


def readme_blocks() -> list[tuple[str, str]]:
    return re.findall(r"```console\n\$ (.*?)\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize(("command", "shown"), readme_blocks(), ids=lambda text: text.split()[1])
def test_readme_output_is_what_the_command_prints(
    command: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, which has imported torch already; tests/cli/test_train.py starts processes of their own."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, command.split()[1:], prog_name="dlassign")
    assert done.exit_code in (0, 2), done.stderr
    printed = done.stdout if done.exit_code == 0 else done.stderr
    assert masked(printed) == masked(shown)


def test_the_layer_of_ones_own_in_the_docs_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "howto" / "numpy_nets.md").read_text()
    code, training = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    [(command, shown)] = re.findall(r"```console\n\$ (.*?)\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_layers.py").write_text(code)
    done = CliRunner().invoke(main, command.split()[1:])
    assert done.exit_code == 0, done.stderr
    assert masked(done.stdout) == masked(shown)
    exec(training, {})
    [loss, beta] = map(float, re.findall(r"\d\.\d+", capsys.readouterr().out))
    assert loss < 0.3
    assert beta != 1
    (tmp_path / "my_layers.py").write_text(code.replace("x * x * slope", "x * slope"))
    wrong = CliRunner().invoke(main, command.split()[1:])
    assert wrong.exit_code == 1
    assert "WRONG" in wrong.stdout


def test_the_layer_of_ones_own_in_the_docs_can_be_named_in_a_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "howto" / "numpy_nets.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0]
    [models] = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("my_layers.py").write_text(code)
    for line in models.splitlines():
        Path("mine.yaml").write_text(
            f"data: {{name: digits}}\n{line}\noptimizer: {{name: adam}}\ntrain: {{epochs: 1}}\n"
        )
        done = CliRunner().invoke(main, ["gradcheck", "mine.yaml", "--code", "my_layers.py"])
        assert done.exit_code == 0, done.output
        assert "activation1  beta" in done.stdout


each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), f"{document} links to {target}"


def typed(text: str) -> list[list[str]]:
    """The words behind `dlassign` of each command line in the plain blocks of a page; comments are left out."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```|^((?:    .*\n)+)", text, flags=re.DOTALL | re.MULTILINE)
    plain = "".join(fenced or indented for language, fenced, indented in blocks if not language)
    lines = [
        shlex.split(line, comments=True) for line in plain.replace("\\\n", " ").splitlines() if "dlassign " in line
    ]
    return [line[line.index("dlassign") + 1 :] for line in lines if "dlassign" in line]


@each_document
def test_every_command_line_names_a_command_and_options_that_exist(document: Path) -> None:
    known = dict(commands())
    for words in typed(document.read_text()):
        name = " ".join(["dlassign", *words[: 2 if words[0] == "data" else 1]])
        assert name in known, f"{document}: {name}"
        options = {option for param in known[name].params for option in param.opts} | {"--help"}
        used = {word.split("=")[0] for word in words if word.startswith("--")}
        assert used <= options, f"{document}: {name} has no {used - options}"


@each_document
def test_every_config_that_a_page_names_is_there(document: Path) -> None:
    for name in re.findall(r"(?<![\w/.])configs/[a-z0-9_/.-]+\.(?:yaml|json)", document.read_text()):
        assert (ROOT / name).is_file(), f"{document} names {name}"


@pytest.mark.slow
def test_the_commands_of_the_tutorial_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    # Those that name a FILE or DIR of the reader's own are left out.
    lines = [
        words
        for words in typed((ROOT / "docs" / "tutorial.md").read_text())
        if not re.search(r"\b(FILE|DIR)\b", " ".join(words))
    ]
    assert len(lines) >= 15
    for words in lines:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, f"{words}: {done.stdout}{done.stderr}"


@pytest.mark.extra
def test_the_commands_that_export_work_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one took the folder of the first, and failed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    lines = [
        words for words in typed((ROOT / "docs" / "howto" / "export.md").read_text()) if "quickstart" in str(words)
    ]
    assert len(lines) == 2
    for words in (["train", "configs/quickstart.yaml", "--set", "train.epochs=1"], *lines):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, f"{words}: {done.stdout}{done.stderr}"


def test_the_sweep_file_of_the_page_is_the_one_that_it_runs() -> None:
    page = (ROOT / "docs" / "howto" / "sweeps.md").read_text()
    shown = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)[0]
    assert yaml.safe_load(shown) == yaml.safe_load((ROOT / "configs" / "sweeps" / "digits.yaml").read_text())
    assert "dlassign sweep --config configs/sweeps/digits.yaml" in page


def test_the_table_of_the_page_is_one_that_reproduce_reads(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "tables.md").read_text()
    (tmp_path / "table.yaml").write_text(re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)[0])
    assert load_table(tmp_path / "table.yaml").config.rows


def test_the_readme_is_short_and_lists_what_a_config_may_name() -> None:
    assert len(README.splitlines()) <= 150
    for section, name in re.findall(r"^## `(\w+)`: `(\w+)`$", reference_text(), flags=re.MULTILINE):
        if section in ("data", "loss", "optimizer"):
            assert re.search(rf"\b{name}\b", README), f"the README does not list {section} {name}"


def names_in(path: Path) -> set[str]:
    """The functions, classes, methods and module-level names of a source file; of methods also `Class.method`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{child.name}" for child in node.body if isinstance(child, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md", "docs/howto/numpy_nets.md"])
def test_every_file_and_symbol_that_a_page_names_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    for path, symbols in re.findall(r"`([\w/]+\.py)(?:: ([\w., ]+))?`", text):
        places = [ROOT / path, ROOT / "src" / "dlassign" / path, ROOT / "src" / "dlassign" / "numpy_nets" / path]
        file = next((place for place in places if place.is_file()), None)
        if file is None and path.startswith("my_"):
            continue
        assert file is not None, f"{name} names {path}"
        missing = set(filter(None, symbols.split(", "))) - names_in(file)
        assert not missing, f"{name}: {path} has no {missing}"
    for folder in re.findall(r"`([a-z_]+(?:/[a-z_]+)*)/`", text):
        assert (ROOT / folder).is_dir() or (ROOT / "src" / "dlassign" / folder).is_dir(), f"{name} names {folder}/"


def test_pictures_of_the_documents_are_small() -> None:
    assert all(picture.stat().st_size < 80_000 for picture in (ROOT / "docs" / "images").iterdir())


def test_no_placeholder_is_left() -> None:
    assert not [document for document in DOCUMENTS if re.search(r"@\w+@|TODO|FIXME", document.read_text())]


def test_each_page_is_in_a_list_of_pages() -> None:
    """docs/README.md names all pages, and for lessons and derivations their own lists, which name theirs."""
    docs = ROOT / "docs"
    for page in docs.glob("**/*.md"):
        own = page.parent / "README.md"
        entry = own if own.exists() and own != page else docs / "README.md"
        name = page.relative_to(entry.parent).as_posix().removesuffix("README.md")
        assert page == entry or f"]({name}" in entry.read_text(), f"{entry} does not list {name}"
