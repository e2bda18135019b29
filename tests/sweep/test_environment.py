"""What the machine fails at is told from what a trial fails at, however deep below other errors it lies."""

from __future__ import annotations

import errno

import pytest

from dlassign.errors import UserError
from dlassign.sweep.environment import is_of_machine


@pytest.mark.parametrize(
    ("name", "machine"),
    [
        ("ENOSPC", True),
        ("EDQUOT", True),
        ("EFBIG", True),
        ("EROFS", True),
        ("EIO", True),
        ("ENOMEM", True),
        ("EMFILE", True),
        ("ESTALE", True),
        ("EACCES", False),
        ("ENOENT", False),
        ("EISDIR", False),
    ],
)
def test_knows_a_failing_machine_below_other_errors(name: str, machine: bool) -> None:
    inner = UserError("a")
    inner.__cause__ = OSError(getattr(errno, name), "why")
    outer = UserError("b")
    outer.__cause__ = inner
    assert is_of_machine(outer) is machine


def test_a_trial_that_needs_too_much_memory_is_not_the_machine() -> None:
    error = UserError("out of memory")
    error.__cause__ = MemoryError()
    assert not is_of_machine(error)
