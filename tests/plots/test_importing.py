"""What is imported without documentation works as with it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from matplotlib.artist import Artist

from dlassign.plots.importing import without_docs_of_set

CODE = """\
from dlassign.plots.importing import without_docs_of_set
with without_docs_of_set():
    from matplotlib.lines import Line2D
class Own(Line2D):
    def set_depth(self, depth):
        self.depth = depth
own = Own([], [])
own.set(lw=3, depth=2)
assert (own.get_linewidth(), own.depth) == (3, 2)
assert "linewidth" not in (Line2D.set.__doc__ or "")
try:
    own.set(nothing=1)
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise AssertionError
"""


def test_artists_take_their_properties_without_documentation() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)


def test_later_artists_are_documented_again() -> None:
    with pytest.raises(KeyError), without_docs_of_set():
        raise KeyError

    class Later(Artist):
        def set_depth(self, depth: int) -> None:
            """Set the depth."""

    assert "depth" in (Later.set.__doc__ or "")


def test_a_matplotlib_without_that_step_is_imported_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Artist, "_update_set_signature_and_docstring")
    with without_docs_of_set():
        assert not hasattr(Artist, "_update_set_signature_and_docstring")
