"""Tables in LaTeX: names of any letters stay what they are, row by row, and pdflatex takes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlassign.cli.main import main
from helpers.logs import RECORDS, START, write_log
from helpers.tiny_tables import row, write_config, write_table

HOSTILE = (r"a_b%c&d#e$f", r"~^\n {g}", "[ä--ö] 'u\u0308` \"<|>", "*中文 ,,ß\t\x07")
"""Names of folders; the third has an umlaut of two characters, the last a sign that is no letter."""
DOCUMENT = r"""
\documentclass{article}
\usepackage[landscape,margin=1cm]{geometry}
\usepackage{booktabs}
\DeclareUnicodeCharacter{4E2D}{Z}
\DeclareUnicodeCharacter{6587}{W}
\begin{document}
\small
%s
\end{document}
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the commands print of runs, groups and reported figures with such names."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("latex")
        patch.chdir(folder)
        records = [*RECORDS[1:-2], RECORDS[-2] | {"n": 60, "confusion": [[30, 30], [0, 0]]}, RECORDS[-1]]
        for name in HOSTILE:
            for seed in (0, 1):
                config = START["config"] | {"seed": seed, "model": {"note": name}}
                write_log(
                    Path("out") / name / f"0000000a-s{seed}", [START | {"seed": seed, "config": config}, *records]
                )
        write_config(folder, "narrow")
        rows = {
            f"row{i}": row("narrow", {"figure": "test", "value": 0.5}, label=f"{name}!")
            for i, name in enumerate(HOSTILE)
        }
        write_table(folder, rows)
        return {
            "runs": printed("runs", "--columns", "run,model.note,test,steps"),
            "compare": printed("compare", *(f"out/{name}" for name in HOSTILE)),
            "reproduce": printed("reproduce", "small", "--no-train", "--out", "none"),
            "list": printed("reproduce", "small", "--list", "--out", "none"),
        }


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(main, [*arguments, "--format", "latex"])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("name", ["runs", "compare", "reproduce", "list"])
def test_each_row_has_its_cells_and_no_mark_of_latex_is_bare(tables: dict[str, str], name: str) -> None:
    lines = [line for line in tables[name].splitlines() if not line.startswith("%")]
    assert (lines[0][:15], lines[-1]) == (r"\begin{tabular}", r"\end{tabular}")
    width = len(lines[0].rpartition("{")[2]) - 1
    for line in lines[1:-1]:
        if line in (r"\toprule", r"\midrule", r"\bottomrule"):
            continue
        cells = line.removesuffix(r" \\")
        assert len(re.findall(r"(?<!\\)&", cells)) == width - 1, line
        bare = re.sub(r"\\(text\w+\{\}|[&%$#_{}])|^\{(?=[\[*])|[-,]\{\}| & ", "", cells)
        assert not re.search(r"[\\%$#_~^&]", bare), line
        assert "\x07" not in line


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_pdflatex_takes_the_tables_and_shows_the_names(tables: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "t.tex").write_text(DOCUMENT % "\n\n".join(tables.values()))
    line = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    if shutil.which("pdftotext"):
        shown = subprocess.run(
            ["pdftotext", "-layout", "t.pdf", "-"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        for name in ("b%c&d#e$f", "{g}", "<|>", ",,ß"):  # letters that are drawn of two cannot be read back
            assert shown.stdout.count(name) >= 4, name
