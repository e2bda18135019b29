"""A log as an event file of TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dlassign.config.load import dump_plain
from dlassign.config.values import value_text
from dlassign.store.files import make_folder, replacing
from dlassign.trackers.event_file import beginning, hparams, hparams_end, scalars, text
from dlassign.trackers.run_log import RunLog

_ENDING = ".dlassign"


class TensorBoard:
    """Writes a folder for TensorBoard, in which each run has a folder with one event file.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.hint = f"show it: tensorboard --logdir {folder}"

    def write(self, logs: Sequence[RunLog]) -> list[str]:
        """Write the files of the runs, each all or nothing in place of the former one; other runs' files stay."""
        for log in logs:
            folder = self._folder / log.name
            make_folder(folder, cure="choose another with --out")
            path = folder / _file_name(log)
            with replacing(path) as file:
                file.writelines(_events(log))
            for former in folder.glob(f"events.out.tfevents.*{_ENDING}"):
                if former != path:
                    former.unlink(missing_ok=True)
        return [str(self._folder)]


def _file_name(log: RunLog) -> str:
    # An open TensorBoard goes on in a file where it stopped. A longer log only adds to the file, but a resume takes
    # back what stands in it; then the name is a later one, at whose beginning TensorBoard starts anew.
    return f"events.out.tfevents.{int(log.began):010}.{len(log.records.resumes):05}{_ENDING}"


def _events(log: RunLog) -> Iterator[bytes]:
    yield beginning(log.began)
    settings = {
        key: value if isinstance(value, bool | int | float) else value_text(value)
        for key, value in log.config().items()
    }
    yield hparams(log.began, settings, group=log.group)
    yield text(log.began, "config", _indented(dump_plain(log.start["config"])))
    for row in log.rows:
        if figures := list(row.figures()):
            yield scalars(row.time, row.step, figures)
    if log.records.is_over and log.records.end:
        yield hparams_end(log.ended, success=log.records.end["status"] == "finished")


def _indented(code: str) -> str:
    """Return lines as Markdown shows them unchanged."""
    return "".join(f"    {line}\n" for line in code.splitlines())
