"""How much each key mattered."""

from __future__ import annotations

import builtins
import math
import sys
from typing import Any

import numpy as np
import pytest

from dlassign.errors import UserError
from dlassign.plots.sweep.importance import build_importance, importance
from helpers.sweep_tables import row, run


class TestImportance:
    def rows(self, n: int = 40) -> list[dict]:
        rng = np.random.default_rng(0)
        points = [
            {
                "lr": float(10 ** rng.uniform(-4, 0)),
                "act": str(rng.choice(["relu", "tanh"])),
                "noise": float(rng.random()),
            }
            for _ in range(n)
        ]
        return [
            row(i, p, run(0.5 - 0.1 * abs(math.log10(p["lr"]) + 2) + 0.02 * (p["act"] == "relu")))
            for i, p in enumerate(points)
        ]

    def test_what_matters_comes_first(self, table: Any) -> None:
        found = importance(table(self.rows()))
        assert next(iter(found.shares)) == "lr"
        assert found.shares["lr"] > 0.6
        assert found.shares["noise"] < 0.2
        assert sum(found.shares.values()) + found.together == pytest.approx(1)
        assert importance(table(self.rows())) == found

    def test_bars(self, table: Any) -> None:
        rows = [*self.rows(), row(40, {"lr": 5.0, "act": "relu", "noise": 0.1}, run(None, status="diverged"))]
        found, axes = importance(table(rows)), build_importance(table(rows)).axes[0]
        widths = [100 * share for share in (*found.shares.values(), found.together)]
        np.testing.assert_allclose([bar.get_width() for bar in axes.patches], widths)
        assert [t.get_text() for t in axes.get_yticklabels()] == [*found.shares, "several keys together"]
        assert "based on 40 points; 1 without a result" in axes.get_title().replace("\n", " ")
        assert axes.get_xlabel() == "share of the variance of val accuracy between points (%)"

    def test_conditional_keys_are_left_out(self, table: Any) -> None:
        rows = self.rows()
        for found in rows[::2]:
            found["values"]["momentum"] = found["number"] / 100
        assert importance(table(rows)).left_out == ("momentum",)

    def test_too_little(self, table: Any) -> None:
        with pytest.raises(UserError, match="3 points have a result; importance needs at least 4"):
            importance(table(self.rows(3)))
        with pytest.raises(UserError, match="all points reached the same"):
            importance(table([row(i, {"a": i}, run(0.5)) for i in range(5)]))
        with pytest.raises(UserError, match="no key differs"):
            importance(table([row(i, {"a": 1}, run(0.1 * i)) for i in range(5)]))

    def test_without_optuna(self, table: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        real = builtins.__import__

        def missing(name: str, *args: Any, **more: Any) -> Any:
            if name.split(".")[0] == "optuna":
                raise ModuleNotFoundError("No module named 'optuna'")
            return real(name, *args, **more)

        for name in [name for name in sys.modules if name.split(".")[0] == "optuna"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(builtins, "__import__", missing)
        with pytest.raises(UserError, match=r"pip install 'dlassign\[search\]'"):
            importance(table(self.rows()))
