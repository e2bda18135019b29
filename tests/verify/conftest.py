"""What the tests of training again share."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from dlassign.data import sources
from dlassign.store import manifest
from dlassign.store.paths import RunPaths
from helpers.repeated import repeatable_run


@pytest.fixture(scope="module")
def one_machine_and_one_version() -> Iterator[None]:
    """The digits take longer to read than to train on, and a working copy of dlassign is a version of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_digits_table", functools.cache(sources._digits_table))
        patch.setattr(manifest, "git_state", lambda: None)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    return repeatable_run(tmp_path_factory.mktemp("run"))
