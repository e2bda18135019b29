"""Imports run without garbage collection, which afterwards is as it was."""

from __future__ import annotations

import gc

import pytest

from dlassign.launch.importing import without_gc


def test_no_search_within_the_block_and_as_before_after_it() -> None:
    assert gc.isenabled()
    with without_gc(own_process=False):
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_failed_import_leaves_the_search_on() -> None:
    with pytest.raises(ImportError), without_gc(own_process=False):
        raise ImportError
    assert gc.isenabled()


def test_where_the_user_has_turned_it_off_it_stays_off() -> None:
    gc.disable()
    try:
        with without_gc(own_process=False):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_only_in_a_process_of_ours_do_objects_stay_out_of_later_searches() -> None:
    before = gc.get_freeze_count()
    try:
        with without_gc(own_process=False):
            pass
        assert gc.get_freeze_count() == before
        with without_gc(own_process=True):
            pass
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
