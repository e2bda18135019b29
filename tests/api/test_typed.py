"""A type checker knows what the public names take and give."""

from __future__ import annotations

from pathlib import Path

import pytest

USE = """\
import dlassign as dl
import dlassign.train.stopping

run = dl.train({"name": "a"}, set={"optimizer.lr": 0.1}, parts={"net": dict})
reveal_type(run)
reveal_type(dl.open("a").history("val")["loss"])
reveal_type(dl.runs("out", where="val>90")[0])
reveal_type(dl.compare(run, [run], metric="loss").interval)
reveal_type(dl.sweep("a.yaml", executor="serial").best)
reveal_type(dl.check("a.yaml").n_params)
dl.train(3)
run.history("vall")
"""


@pytest.mark.extra  # mypy reads torch's types: 10 to 30 s
def test_a_strict_checker_sees_the_types(tmp_path: Path) -> None:
    from mypy import api

    (tmp_path / "use.py").write_text(USE)
    said, errors, code = api.run(["--strict", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "use.py")])
    assert not errors
    revealed = [line.split('"')[1] for line in said.splitlines() if "Revealed type" in line]
    assert revealed[0] == "dlassign.api.run.Run"
    assert "ndarray" in revealed[1]
    assert revealed[2] == "dlassign.api.run.Run"
    assert "tuple[float, float] | None" in revealed[3].replace("builtins.", "")
    assert len(revealed) == 6
    assert [line.split(": ")[0].rpartition(":")[2] for line in said.splitlines() if ": error:" in line] == ["11", "12"]
    assert code == 1
