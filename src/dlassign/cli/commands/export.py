"""`dlassign export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dlassign.cli.options import given, json_option, neutral_set_option, place, trust_option, weights_option
from dlassign.deploy.kinds import KINDS
from dlassign.trackers.names import TRACKERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlassign.deploy.export import Exported
    from dlassign.trackers.names import TrackerName


@click.command("export")
@click.argument("runs", type=place, nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--to",
    "kinds",
    type=click.Choice([*KINDS, *TRACKERS]),
    multiple=True,
    help="Of a net, what to write beside weights and configs, which always are: nothing, ONNX, a torch.export program, "
    f"a model card; repeatable, by default all that is installed. Or one of {', '.join(TRACKERS)}: the logs of runs.",
)
@click.option(
    "--out",
    type=place,
    metavar="DIR",
    help="The new folder of a net; of logs the folder that the runs share by default, for mlflow also an address.",
)
@click.option("--follow", is_flag=True, help="Export the logs again whenever they have grown, until the runs end.")
@weights_option
@neutral_set_option
@trust_option
@json_option
def export_command(
    runs: tuple[str, ...],
    kinds: tuple[str, ...],
    out: str | None,
    follow: bool,
    weights: str,
    overrides: tuple[str, ...],
    trust: bool,
    as_json: bool,
) -> None:
    """Write the trained net of RUN for other programs, or the logs of RUN... for trackers or as a table.

    A net is written if it computes there what it computes here. A log is written whole, in place of an earlier export.

    Example: dlassign export out/quickstart/latest --to onnx --out digits-model
    """
    trackers: list[TrackerName] = [kind for kind in kinds if kind in TRACKERS]  # type: ignore[misc]
    if not trackers:
        if follow:
            raise click.UsageError(f"--follow is for logs, with --to {' or '.join(TRACKERS)}")
        _export_net(runs, kinds, out, weights=weights, overrides=overrides, trust=trust, as_json=as_json)
        return
    if len(kinds) > 1:
        raise click.UsageError(f"--to {trackers[0]} is for logs and stands alone; give another command for the rest")
    if wrong := given("weights", "overrides", "trust"):
        raise click.UsageError(f"{wrong}: for nets alone; --to {trackers[0]} exports logs")
    if follow and trackers[0] == "wandb":
        raise click.UsageError("--follow: W&B lets nothing that it has be replaced; export when the runs have ended")
    _export_logs(runs, trackers[0], out, follow=follow, as_json=as_json)


def _export_logs(runs: tuple[str, ...], to: TrackerName, out: str | None, *, follow: bool, as_json: bool) -> None:
    import json

    from dlassign.cli.views.notes import say
    from dlassign.store.select import some_runs
    from dlassign.trackers.export_log import follow_logs, make_tracker
    from dlassign.trackers.run_log import read_logs

    found = some_runs(runs, say=say)
    tracker = make_tracker(to, out, found)
    if follow:
        files = follow_logs(runs, tracker, say=say)
    else:
        logs = read_logs(found, say=say)
        found, files = [log.paths for log in logs], tracker.write(logs)
    if as_json:
        click.echo(json.dumps({"to": to, "runs": len(found), "written": files}))
        return
    for file in files:
        click.echo(f"wrote  {file}")
    if tracker.hint:
        click.echo(tracker.hint)


def _export_net(
    runs: tuple[str, ...],
    kinds: tuple[str, ...],
    out: str | None,
    *,
    weights: str,
    overrides: tuple[str, ...],
    trust: bool,
    as_json: bool,
) -> None:
    import json
    from pathlib import Path

    from dlassign.deploy.export import export_run, installed_kinds
    from dlassign.deploy.onnx_file import INSTALL
    from dlassign.store.select import one_run

    if len(runs) > 1:
        raise click.UsageError(f"{len(runs)} runs are given; a net is exported alone (--to csv takes the logs of many)")
    if out is None:
        raise click.UsageError("give the new folder, such as --out my-model")
    chosen = kinds or installed_kinds()
    if not kinds and "onnx" not in chosen:
        click.echo(f"note: no model.onnx is written; for it {INSTALL}", err=True)
    done = export_run(one_run(runs[0]), Path(out), kinds=chosen, weights=weights, overrides=overrides, trust=trust)
    for note in done.notes:
        click.echo(note, err=True)
    click.echo(json.dumps(_as_dict(done)) if as_json else "\n".join(_lines(done)))


def _as_dict(done: Exported) -> dict[str, Any]:
    return {"folder": str(done.folder), "files": list(done.files), "parity": done.parity.as_dict()}


def _lines(done: Exported) -> Iterator[str]:
    yield f"compared with {done.parity.reference}"
    yield f"real samples: {done.parity.real}"
    for name, found in done.parity.files.items():
        ties = f", {found.ties} ties" * bool(found.ties)
        yield f"  {name}: {found.samples} samples, largest difference of a score {found.largest:.2g}{ties}"
    yield f"folder {done.folder}: {', '.join(done.files)}"
