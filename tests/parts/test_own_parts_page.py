"""docs/howto/own_parts.md: its files and commands lead to a run, and its table has every kind of part."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.parts.kinds import KINDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "howto" / "own_parts.md").read_text()


def test_its_files_and_commands_lead_to_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", TEXT, flags=re.DOTALL):
        Path(name).write_text(content)
    [commands] = re.findall(r"```\n(dlassign .*?)```", TEXT, flags=re.DOTALL)
    lines = commands.splitlines()
    assert len(lines) == 3
    for line in lines:
        done = CliRunner().invoke(main, line.split()[1:])
        assert done.exit_code == 0, done.output


def test_the_table_has_every_kind_and_every_example() -> None:
    rows = re.findall(r"^\| (\w+) \| `.*?` \| `(\w+)\((.*?)\)`.*\(\.\./examples/(\w+\.py)\)", TEXT, flags=re.MULTILINE)
    listed = {kind: (tuple(filter(None, given.split(", "))), example) for kind, _, given, example in rows}
    assert listed.keys() == KINDS.keys()
    for kind, (given, example) in listed.items():
        assert given == KINDS[kind].given, kind
        assert (ROOT / "docs" / "examples" / example).is_file()
