"""Importing matplotlib without the documentation that it makes up meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.artist import Artist


@contextmanager
def without_docs_of_set() -> Iterator[None]:
    """Import matplotlib within this block without signature and docstring for the method `set` of each of its artists.

    They are put together from the source of all properties, which is a large part of the import. `set` does the same
    without them. For a process of ours: in a user's, `help` would say less.
    """
    name = "_update_set_signature_and_docstring"  # of matplotlib 3.5 and later
    made = vars(Artist).get(name)
    if made is None:
        yield
        return
    setattr(Artist, name, classmethod(lambda cls: None))
    try:
        yield
    finally:
        setattr(Artist, name, made)
