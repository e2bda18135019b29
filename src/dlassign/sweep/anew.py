"""What `--retry` does with a trial that cannot go on from what lies in its folder."""

from __future__ import annotations

from dlassign.errors import UserError
from dlassign.store.files import is_locked
from dlassign.store.paths import RunPaths
from dlassign.sweep.environment import is_of_machine
from dlassign.train.experiment import only_writer, read_former


def set_aside_if_damaged(paths: RunPaths) -> str:
    """Move the folder of a run aside whose log or checkpoints cannot be read, so that the run begins anew.

    Returns:
        A line that says so, or "" if the run can go on, has not begun, or is trained by another process.

    Raises:
        UserError: the disk fails, which says nothing about the run.
    """
    if not paths.root.exists() or is_locked(paths.lock):
        return ""
    with only_writer(paths):
        try:
            read_former(paths, say=lambda text: None)
        except UserError as error:
            if is_of_machine(error):
                raise
            why = str(error).splitlines()[0]
            return f"{why}; it begins anew, and what was there is kept in {paths.set_aside()}"
    return ""
